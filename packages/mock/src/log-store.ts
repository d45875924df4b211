import { invalidConfig, type LineSplitter, type LogEntry, type LogOptions, type LogSource, lineSplitter } from '@vmkit/core/driver'

const MOST_LINES = 100_000

/** What a machine wrote, over all its runs; the oldest lines go when there are too many. */
export class LogStore {
  readonly #lines: LogEntry[] = []
  readonly #splitters = new Map<LogSource, LineSplitter>()
  readonly #waiting = new Set<() => void>()
  #next = 0
  bytes = 0

  append(source: LogSource, data: Uint8Array, at: number): void {
    const splitter = this.#splitters.get(source) ?? lineSplitter()
    this.#splitters.set(source, splitter)
    this.bytes += data.length
    this.#add(source, splitter.push(data), at)
  }

  /** A run has ended: its last lines count also without a newline. Wakes those who follow. */
  flush(at: number): void {
    for (const [source, splitter] of this.#splitters) this.#add(source, splitter.end(), at)
    this.#splitters.clear()
    this.wake()
  }

  wake(): void {
    for (const resume of this.#waiting) resume()
    this.#waiting.clear()
  }

  #add(source: LogSource, lines: { text: string; partial: boolean }[], at: number): void {
    for (const { text, partial } of lines) {
      this.#next += 1
      this.#lines.push({ source, text, at, cursor: String(this.#next), ...(partial ? { partial } : {}) })
    }
    if (this.#lines.length > MOST_LINES) this.#lines.splice(0, this.#lines.length - MOST_LINES)
    if (lines.length > 0) this.wake()
  }

  /** `isOver` says that nothing more will come; `check` throws when the reader must hear of a failure. */
  async *read(options: LogOptions, isOver: () => boolean, check: () => void, signal: AbortSignal): AsyncGenerator<LogEntry> {
    const { follow = false, tail, since, after, sources } = options
    const wanted = (entry: LogEntry): boolean =>
      (since === undefined || (entry.at as number) >= Number(since)) && (!sources || sources.includes(entry.source))
    let seen = after === undefined ? 0 : cursorOf(after)
    if (tail !== undefined) {
      const matching = this.#lines.filter((entry) => Number(entry.cursor) > seen && wanted(entry))
      seen = Number(matching[matching.length - tail]?.cursor ?? (tail === 0 ? this.#next + 1 : seen + 1)) - 1
    }
    for (;;) {
      check()
      if (signal.aborted) return
      // Found anew each time, because the oldest lines may have gone meanwhile.
      const entry = this.#lines[this.#indexAfter(seen)]
      if (entry) {
        seen = Number(entry.cursor)
        if (wanted(entry)) yield entry
      } else if (!follow || isOver()) {
        return
      } else {
        await this.#more(signal)
      }
    }
  }

  #indexAfter(cursor: number): number {
    const first = Number(this.#lines[0]?.cursor ?? 0)
    return Math.max(0, cursor - first + 1)
  }

  #more(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const resume = (): void => {
        signal.removeEventListener('abort', resume)
        resolve()
      }
      this.#waiting.add(resume)
      signal.addEventListener('abort', resume, { once: true })
    })
  }
}

function cursorOf(text: string): number {
  if (!/^\d+$/.test(text)) throw invalidConfig('options.after', 'a cursor of a log entry of this machine', text)
  return Number(text)
}
