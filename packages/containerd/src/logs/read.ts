import type { LogEntry, LogOptions, LogSource } from '@vmkit/core/driver'
import { changes } from '../watch.js'
import { formatCursor, type Offsets, parseCursor } from './cursor.js'
import { type LogFile, logFile } from './log-file.js'
import { parseStamped } from './stamped.js'

const POLL_MS = 250

export interface LogTarget {
  folder: string
  /** Path of the file of each stream. */
  files: readonly { source: LogSource; path: string }[]
  /** Every line carries its source and time, written by the logger. */
  stamped: boolean
  /** Whether nothing more will be written. */
  hasEnded(): Promise<boolean>
}

export async function* readLogs(target: LogTarget, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogEntry> {
  const after = options.after === undefined ? {} : parseCursor(options.after)
  const files = target.stamped ? target.files : target.files.filter(({ source }) => options.sources?.includes(source) ?? true)
  // The cursor keeps the place in streams that are not asked for, too.
  const offsets: Offsets = { ...after }
  const since = options.since === undefined ? undefined : Number(options.since)
  const accept = (entry: LogEntry): boolean =>
    (options.sources?.includes(entry.source) ?? true) && (since === undefined || (entry.at !== null && entry.at >= since))
  const watch = options.follow ? changes(target.folder, POLL_MS) : undefined
  const streams = files.map(({ source, path }) => logFile(path, after[source] ?? 0))
  try {
    let ended = await target.hasEnded()
    const isFiltered = since !== undefined || (target.stamped && options.sources !== undefined)
    if (options.tail !== undefined && !isFiltered) await skipToTail(streams, options.tail)
    const limits = options.follow ? undefined : await Promise.all(streams.map((stream) => stream.size()))
    let last: LogEntry[] | undefined = options.tail !== undefined && isFiltered ? [] : undefined
    for (;;) {
      for (const [index, stream] of streams.entries()) {
        const { source } = files[index] as { source: LogSource }
        for await (const line of stream.lines(limits?.[index] ?? Number.POSITIVE_INFINITY, ended || !options.follow)) {
          if (signal.aborted) return
          offsets[source] = line.end
          const unfinished = line.partial || (line.open && !ended)
          const plain: LogEntry = {
            source,
            text: line.text,
            at: null,
            cursor: formatCursor(offsets),
            ...(unfinished ? { partial: true } : {}),
          }
          const entry = target.stamped ? parseStamped(plain) : plain
          if (!entry || !accept(entry)) continue
          if (last) keepLast(last, entry, options.tail as number)
          else yield entry
        }
      }
      if (last) yield* last
      last = undefined
      if (ended || !watch) return
      await watch.next(signal)
      if (signal.aborted) return
      // First whether it has ended, then what it wrote: nothing can come in between.
      ended = await target.hasEnded()
    }
  } finally {
    watch?.close()
    await Promise.all(streams.map((stream) => stream.close()))
  }
}

function keepLast(last: LogEntry[], entry: LogEntry, most: number): void {
  last.push(entry)
  if (last.length > most) last.shift()
}

/** Without times nobody knows the order between streams: each gives the same share, and what one lacks the others add. */
async function skipToTail(streams: readonly LogFile[], tail: number): Promise<void> {
  const starts = await Promise.all(streams.map((stream) => stream.lastLines(tail)))
  const counts = shares(
    tail,
    starts.map(({ length }) => length),
  )
  for (const [index, stream] of streams.entries()) {
    const count = counts[index] as number
    stream.seek(count === 0 ? await stream.size() : (starts[index]?.[count - 1] as number))
  }
}

/** Splits `total` over takers that want at most so much each, as evenly as it goes. */
export function shares(total: number, wants: readonly number[]): number[] {
  const given = wants.map(() => 0)
  let left = Math.min(
    total,
    wants.reduce((sum, want) => sum + want, 0),
  )
  for (let index = 0; left > 0; index = (index + 1) % wants.length) {
    if ((given[index] as number) >= (wants[index] as number)) continue
    given[index] = (given[index] as number) + 1
    left -= 1
  }
  return given
}
