/**
 * Logs that are plain files, one per source, which the machine or its engine appends to: nothing stands between, so nothing
 * is lost, and a cursor is a byte offset in each.
 */
import type { LogEntry, LogOptions, LogSource, OutputChunk } from '../driver-kit.js'
import { formatCursor, parseCursor } from './log-cursor.js'
import { type LogFile, logFile } from './log-file.js'
import { skipToTail } from './log-tail.js'
import { changes } from './watch.js'

const POLL_MS = 250

export interface LogTarget {
  /** Where the files are: watched while they are followed. */
  folder: string
  /** A file need not be there yet. */
  files: readonly { source: LogSource; path: string }[]
  /** Whether nothing more will be written. */
  hasEnded(): boolean | Promise<boolean>
  /** For files whose lines carry more than text: the entry of a line, or `undefined` for one that is none. */
  parse?(line: LogEntry): LogEntry | undefined
}

/** @throws VMKitError `INVALID_CONFIG` for a cursor that is none */
export async function* readLogs(target: LogTarget, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogEntry> {
  const { parse } = target
  const after = options.after === undefined ? {} : parseCursor(options.after)
  // The cursor keeps the place in files that are not asked for, too.
  const offsets = { ...after }
  const isWanted = (source: LogSource): boolean => options.sources?.includes(source) ?? true
  // Where lines tell their source, a file's own says nothing.
  const files = parse ? target.files : target.files.filter(({ source }) => isWanted(source))
  const since = options.since === undefined ? undefined : Number(options.since)
  const isAccepted = ({ source, at }: LogEntry): boolean => isWanted(source) && (since === undefined || (at !== null && at >= since))
  const watch = options.follow ? changes(target.folder, POLL_MS) : undefined
  const streams = files.map(({ source, path }) => logFile(path, after[source] ?? 0))
  try {
    let ended = await target.hasEnded()
    const isFiltered = since !== undefined || (parse !== undefined && options.sources !== undefined)
    if (options.tail !== undefined && !isFiltered) await skipToTail(streams, options.tail)
    const limits = options.follow ? undefined : await Promise.all(streams.map((stream) => stream.size()))
    // The last of those that pass the filter are known only when all were read.
    let last: LogEntry[] | undefined = options.tail !== undefined && isFiltered ? [] : undefined
    for (;;) {
      for (const [index, stream] of streams.entries()) {
        const { source } = files[index] as LogTarget['files'][number]
        for await (const line of stream.lines(limits?.[index] ?? Number.POSITIVE_INFINITY, ended || !options.follow)) {
          if (signal.aborted) return
          offsets[source] = line.end
          const isPart = line.partial || (line.open && !ended)
          const plain: LogEntry = {
            source,
            text: line.text,
            at: null,
            cursor: formatCursor(offsets),
            ...(isPart ? { partial: true } : {}),
          }
          const entry = parse ? parse(plain) : plain
          if (!entry || !isAccepted(entry)) continue
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
    await closeAll(streams)
  }
}

/** The files as bytes, from where they end when this resolves. */
export interface OutputFollower {
  /** Until the machine has ended, or it is closed. Read by one reader. */
  readonly output: AsyncIterable<OutputChunk>
  /** Also needed when nobody has read to the end. */
  close(): Promise<void>
}

export async function followOutput(target: Omit<LogTarget, 'parse'>): Promise<OutputFollower> {
  const streams = target.files.map(({ source, path }) => ({ source, file: logFile(path, 0), at: 0 }))
  const closed = new AbortController()
  const close = async (): Promise<void> => {
    closed.abort()
    await closeAll(streams.map(({ file }) => file))
  }
  // Opened now: what was written is still read when the machine is deleted before the reader comes.
  for (const stream of streams) stream.at = await stream.file.size()

  async function* read(): AsyncGenerator<OutputChunk> {
    const { signal } = closed
    const watch = changes(target.folder, POLL_MS)
    try {
      while (!signal.aborted) {
        // First whether it has ended, then what it wrote: nothing can come in between.
        const ended = await target.hasEnded()
        for (const stream of streams) {
          while (!signal.aborted) {
            const data = await stream.file.read(stream.at)
            if (data.length === 0) break
            stream.at += data.length
            yield { source: stream.source, data }
          }
        }
        if (ended) return
        await watch.next(signal)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      watch.close()
      await closeAll(streams.map(({ file }) => file))
    }
  }
  return { output: { [Symbol.asyncIterator]: read }, close }
}

function keepLast(last: LogEntry[], entry: LogEntry, most: number): void {
  last.push(entry)
  if (last.length > most) last.shift()
}

async function closeAll(files: readonly LogFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()))
}
