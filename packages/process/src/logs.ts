/**
 * Logs are plain files that main appends to, one per stream: nothing stands between, so nothing is lost and a cursor is a
 * byte offset. The supervisor gives the oldest blocks back when a file is over its cap; `<stream>.floor` holds, in its last
 * line, the first offset that is still there.
 */
import { readFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { invalidConfig, type LogEntry, type LogOptions, type LogSource, lineSplitter } from '@vmkit/core/driver'
import { DRIVER, errno, systemError } from './errors.js'
import { changes } from './watch.js'

const CHUNK = 64 * 1024
const POLL_MS = 500
const NEWLINE = 0x0a

export type Offsets = Partial<Record<LogSource, number>>

const LETTER: Readonly<Record<LogSource, string>> = { stdout: 'o', stderr: 'e', console: 'c' }

/** Where a reader is in every stream, such as `o120e0`. */
export function formatCursor(offsets: Offsets): string {
  return (Object.keys(LETTER) as LogSource[])
    .map((source) => (offsets[source] === undefined ? '' : `${LETTER[source]}${offsets[source]}`))
    .join('')
}

/** @throws VMKitError `INVALID_CONFIG` for what `formatCursor` did not make */
export function parseCursor(cursor: string): Offsets {
  const match = /^(?:o(\d{1,15}))?(?:e(\d{1,15}))?(?:c(\d{1,15}))?$/.exec(cursor)
  if (!match || cursor === '')
    throw invalidConfig('options.after', 'a cursor of a log entry of this driver', cursor, { driver: DRIVER, operation: 'logs' })
  const offsets: Offsets = {}
  for (const [index, source] of (['stdout', 'stderr', 'console'] as const).entries()) {
    if (match[index + 1] !== undefined) offsets[source] = Number(match[index + 1])
  }
  return offsets
}

export interface LogTarget {
  folder: string
  sources: readonly LogSource[]
  /** Whether nothing more will be written. */
  hasEnded(): boolean
}

export async function* readLogs(target: LogTarget, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogEntry> {
  const after = options.after === undefined ? {} : parseCursor(options.after)
  const wanted = target.sources.filter((source) => options.sources?.includes(source) ?? true)
  // The cursor keeps the place in streams that are not asked for, too.
  const offsets: Offsets = { ...after }
  const watch = options.follow ? changes(target.folder, POLL_MS) : undefined
  const streams = wanted.map((source) => logStream(join(target.folder, source), after[source] ?? 0))
  try {
    let ended = target.hasEnded()
    if (options.tail !== undefined) await skipToTail(streams, options.tail)
    const limits = options.follow ? undefined : await Promise.all(streams.map((stream) => stream.size()))
    for (;;) {
      for (const [index, stream] of streams.entries()) {
        const source = wanted[index] as LogSource
        for await (const line of stream.lines(limits?.[index] ?? Number.POSITIVE_INFINITY, ended || !options.follow)) {
          if (signal.aborted) return
          offsets[source] = line.end
          const unfinished = line.partial || (line.open && !ended)
          yield { source, text: line.text, at: null, cursor: formatCursor(offsets), ...(unfinished ? { partial: true } : {}) }
        }
      }
      if (ended || !watch) return
      await watch.next(signal)
      if (signal.aborted) return
      // First whether it has ended, then what it wrote: nothing can come in between.
      ended = target.hasEnded()
    }
  } finally {
    watch?.close()
    await Promise.all(streams.map((stream) => stream.close()))
  }
}

interface LogLine {
  text: string
  end: number
  partial: boolean
  /** The stream ended without a newline. */
  open: boolean
}

interface LogStream {
  size(): Promise<number>
  /** Lines from where it is up to `limit`; with `final` also one that has no newline. */
  lines(limit: number, final: boolean): AsyncGenerator<LogLine>
  /** How many lines there are, at most `most`, and where the last of them start. */
  tail(most: number): Promise<number[]>
  seek(offset: number): void
  close(): Promise<void>
}

function logStream(path: string, start: number): LogStream {
  let file: FileHandle | undefined
  let position = start
  let splitter = lineSplitter(start)

  async function opened(): Promise<FileHandle | undefined> {
    try {
      file ??= await open(path, 'r')
    } catch (error) {
      if (errno(error) !== 'ENOENT') throw systemError(error, { operation: 'logs' })
    }
    return file
  }

  function seek(offset: number): void {
    position = offset
    splitter = lineSplitter(offset)
  }

  async function read(at: number, length: number): Promise<Buffer> {
    const handle = await opened()
    if (!handle || length <= 0) return Buffer.alloc(0)
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(Math.min(CHUNK, length)), 0, Math.min(CHUNK, length), at)
    return buffer.subarray(0, bytesRead)
  }

  /** Moves to the first whole line that is still there. */
  async function toFloor(limit: number): Promise<void> {
    const floor = readFloor(path)
    if (position >= floor) return
    let at = floor
    for (let data = await read(at, limit - at); data.length > 0; data = await read(at, limit - at)) {
      const newline = data.indexOf(NEWLINE)
      at += newline < 0 ? data.length : newline + 1
      if (newline >= 0) break
    }
    seek(at)
  }

  async function size(): Promise<number> {
    return (await (await opened())?.stat())?.size ?? 0
  }

  return {
    size,
    seek,
    async *lines(limit, final) {
      for (;;) {
        await toFloor(limit)
        const data = await read(position, limit - position)
        if (data.length === 0) break
        // Trimmed while it was read: what came may be a hole.
        if (position < readFloor(path)) continue
        position += data.length
        for (const line of splitter.push(data)) yield { ...line, open: false }
      }
      if (final) for (const line of splitter.end()) yield { ...line, open: true }
    },
    async tail(most) {
      const end = await size()
      await toFloor(end)
      const starts: number[] = []
      if (position >= end || most === 0) return starts
      let at = end
      // A newline at the very end starts no line.
      let isLast = true
      while (at > position && starts.length < most) {
        const from = Math.max(position, at - CHUNK)
        const data = await read(from, at - from)
        if (data.length === 0) break
        for (let index = data.length - 1; index >= 0 && starts.length < most; index -= 1) {
          if (data[index] === NEWLINE && !isLast) starts.push(from + index + 1)
          isLast = false
        }
        at = from
      }
      if (starts.length < most) starts.push(position)
      return starts
    },
    async close() {
      await file?.close()
      file = undefined
    },
  }
}

/** Without times nobody knows the order between streams: each gives the same share, and what one lacks the others add. */
async function skipToTail(streams: LogStream[], tail: number): Promise<void> {
  const starts = await Promise.all(streams.map((stream) => stream.tail(tail)))
  const sizes = await Promise.all(streams.map((stream) => stream.size()))
  const shares = share(
    tail,
    starts.map((lines) => lines.length),
  )
  for (const [index, stream] of streams.entries()) {
    const count = shares[index] as number
    stream.seek(count === 0 ? (sizes[index] as number) : (starts[index]?.[count - 1] as number))
  }
}

/** Splits `total` over takers that want at most so much each, as evenly as it goes. */
export function share(total: number, wants: readonly number[]): number[] {
  const shares = wants.map(() => 0)
  let left = total
  for (let open = true; open && left > 0; ) {
    open = false
    for (const [index, want] of wants.entries()) {
      if ((shares[index] as number) >= want || left === 0) continue
      shares[index] = (shares[index] as number) + 1
      left -= 1
      open = true
    }
  }
  return shares
}

function readFloor(path: string): number {
  try {
    const lines = readFileSync(`${path}.floor`, 'latin1').split('\n')
    return Number(lines.at(-2) ?? 0)
  } catch {
    return 0
  }
}
