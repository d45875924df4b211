/**
 * Logs are plain files that QEMU appends to, one per source: nothing stands between, so nothing is lost, and a cursor is a byte
 * offset in each. An image's machine has `stdout` and `stderr`, or with a terminal `console`; any other has its serial console.
 * The serial console of an image's machine, which holds the kernel's words, is there when it is asked for by `sources`.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { invalidConfig, type LogEntry, type LogOptions, type LogSource, lineSplitter } from '@vmkit/core/driver'
import { DRIVER, errno, systemError } from './errors.js'
import type { MachineFolder } from './state/machine-folder.js'
import { statusOf } from './state/run.js'
import type { Machine } from './state/store.js'
import { changes } from './state/watch.js'

const CHUNK = 64 * 1024
const POLL_MS = 250
const NEWLINE = 0x0a
const LETTER: Readonly<Record<LogSource, string>> = { stdout: 'o', stderr: 'e', console: 'c' }

type Offsets = Partial<Record<LogSource, number>>

/** Where a reader is in every stream, such as `o120e0`. */
function formatCursor(offsets: Offsets): string {
  return (Object.keys(LETTER) as LogSource[])
    .map((source) => (offsets[source] === undefined ? '' : `${LETTER[source]}${offsets[source]}`))
    .join('')
}

/** @throws VMKitError `INVALID_CONFIG` for what `formatCursor` did not make */
function parseCursor(cursor: string): Offsets {
  const match = /^(?:o(\d{1,15}))?(?:e(\d{1,15}))?(?:c(\d{1,15}))?$/.exec(cursor)
  if (!match || cursor === '') {
    throw invalidConfig('options.after', 'a cursor of a log entry of this driver', cursor, { driver: DRIVER, operation: 'logs' })
  }
  const [, stdout, stderr, console] = match
  return {
    ...(stdout === undefined ? {} : { stdout: Number(stdout) }),
    ...(stderr === undefined ? {} : { stderr: Number(stderr) }),
    ...(console === undefined ? {} : { console: Number(console) }),
  }
}

interface Source {
  source: LogSource
  path: string
}

function sourcesOf({ boot, config, folder }: Machine, wanted: readonly LogSource[] | undefined): Source[] {
  const all = boot.reportsExit ? imageSources(config.tty, folder, wanted) : [{ source: 'console' as const, path: folder.consoleLog }]
  return all.filter(({ source }) => wanted?.includes(source) ?? true)
}

function imageSources(tty: boolean, folder: MachineFolder, wanted: readonly LogSource[] | undefined): Source[] {
  if (tty) return [{ source: 'console', path: folder.mainLog }]
  return [
    { source: 'stdout', path: folder.stdoutLog },
    { source: 'stderr', path: folder.stderrLog },
    ...(wanted?.includes('console') ? [{ source: 'console' as const, path: folder.consoleLog }] : []),
  ]
}

export async function* readLogs(machine: Machine, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogEntry> {
  // The cursor keeps the place in streams that are not asked for, too.
  const offsets: Offsets = options.after === undefined ? {} : parseCursor(options.after)
  const sources = sourcesOf(machine, options.sources)
  const watch = options.follow ? changes(machine.folder.path, POLL_MS) : undefined
  const streams = sources.map(({ source, path }) => logStream(path, offsets[source] ?? 0))
  const hasEnded = (): boolean => {
    const { state } = statusOf(machine.folder)
    return state === 'stopped' || state === 'failed' || (state === 'created' && !options.follow)
  }
  try {
    let ended = ends(hasEnded)
    if (options.tail !== undefined) await skipToTail(streams, options.tail)
    const limits = options.follow ? undefined : await Promise.all(streams.map((stream) => stream.size()))
    for (;;) {
      for (const [index, stream] of streams.entries()) {
        const { source } = sources[index] as Source
        for await (const line of stream.lines(limits?.[index] ?? Number.POSITIVE_INFINITY, ended || !options.follow)) {
          if (signal.aborted) return
          offsets[source] = line.end
          const isPart = line.partial || (line.open && !ended)
          yield { source, text: line.text, at: null, cursor: formatCursor(offsets), ...(isPart ? { partial: true } : {}) }
        }
      }
      if (ended || !watch) return
      await watch.next(signal)
      if (signal.aborted) return
      // First whether it has ended, then what it wrote: nothing can come in between.
      ended = ends(hasEnded)
    }
  } finally {
    watch?.close()
    await Promise.all(streams.map((stream) => stream.close()))
  }
}

/** A machine that was deleted writes no more. */
function ends(hasEnded: () => boolean): boolean {
  try {
    return hasEnded()
  } catch {
    return true
  }
}

interface LogStream {
  size(): Promise<number>
  /** Lines from where it is up to `limit`; with `final` also one that has no newline. */
  lines(limit: number, final: boolean): AsyncGenerator<{ text: string; end: number; partial: boolean; open: boolean }>
  /** Where the last lines start, the last one first, at most so many. */
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

  async function read(at: number, length: number): Promise<Buffer> {
    const handle = await opened()
    const wanted = Math.min(CHUNK, length)
    if (!handle || wanted <= 0) return Buffer.alloc(0)
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(wanted), 0, wanted, at)
    return buffer.subarray(0, bytesRead)
  }

  const size = async (): Promise<number> => (await (await opened())?.stat())?.size ?? 0

  return {
    size,
    seek(offset) {
      position = offset
      splitter = lineSplitter(offset)
    },
    async *lines(limit, final) {
      for (let data = await read(position, limit - position); data.length > 0; data = await read(position, limit - position)) {
        position += data.length
        for (const line of splitter.push(data)) yield { ...line, open: false }
      }
      if (final) for (const line of splitter.end()) yield { ...line, open: true }
    },
    async tail(most) {
      const end = await size()
      const starts: number[] = []
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
      if (starts.length < most && end > position) starts.push(position)
      return starts
    },
    async close() {
      await file?.close()
      file = undefined
    },
  }
}

/** Without times nobody knows the order between streams: the first ones give way, so that the last lines of the last remain. */
async function skipToTail(streams: LogStream[], tail: number): Promise<void> {
  const starts = await Promise.all(streams.map((stream) => stream.tail(tail)))
  const sizes = await Promise.all(streams.map((stream) => stream.size()))
  const shares = share(
    starts.map(({ length }) => length),
    tail,
  )
  for (const [index, stream] of streams.entries()) {
    const wanted = shares[index] as number
    stream.seek(wanted === 0 ? (sizes[index] as number) : (starts[index]?.[wanted - 1] ?? 0))
  }
}

/** Divides `total` evenly among those that have something, and what one lacks the others add. */
function share(available: readonly number[], total: number): number[] {
  const shares = available.map(() => 0)
  let left = total
  while (left > 0 && shares.some((given, index) => given < (available[index] as number))) {
    for (const index of shares.keys()) {
      if (left === 0 || (shares[index] as number) >= (available[index] as number)) continue
      shares[index] = (shares[index] as number) + 1
      left -= 1
    }
  }
  return shares
}
