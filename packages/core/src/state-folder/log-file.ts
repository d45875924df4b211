/**
 * One growing file, read by lines. Its oldest blocks may have been given back to the file system: `<file>.floor` holds, in
 * its last line, the first offset that is still there, so that offsets stay what they are.
 */
import { readFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { lineSplitter } from '../driver-kit.js'
import { errno, systemError } from './system-error.js'

const CHUNK = 64 * 1024
const NEWLINE = 0x0a

export interface LogLine {
  text: string
  /** Offset behind it. */
  end: number
  /** It was longer than the longest; its next part follows. */
  partial: boolean
  /** The file ended without a newline. */
  open: boolean
}

export interface LogFile {
  size(): Promise<number>
  /** What stands at an offset, one block of it at most; nothing at the end, and while there is no file. */
  read(at: number, most?: number): Promise<Uint8Array>
  /** Lines from where it is up to `limit`; with `final` also one that has no newline. */
  lines(limit: number, final: boolean): AsyncGenerator<LogLine>
  /** Where the last lines start, the last one first, at most so many. */
  lastLines(most: number): Promise<number[]>
  seek(offset: number): void
  close(): Promise<void>
}

export function logFile(path: string, start: number): LogFile {
  let handle: FileHandle | undefined
  let position = start
  let splitter = lineSplitter(start)

  async function opened(): Promise<FileHandle | undefined> {
    try {
      handle ??= await open(path, 'r')
    } catch (error) {
      if (errno(error) !== 'ENOENT') throw systemError(error)
    }
    return handle
  }

  async function read(at: number, most = CHUNK): Promise<Uint8Array> {
    const file = await opened()
    const length = Math.min(CHUNK, most)
    if (!file || length <= 0) return new Uint8Array(0)
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(length), 0, length, at)
    return buffer.subarray(0, bytesRead)
  }

  function seek(offset: number): void {
    position = offset
    splitter = lineSplitter(offset)
  }

  /** Moves to the first whole line that is still there. */
  async function toFloor(limit: number): Promise<void> {
    const floor = readLogFloor(path)
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
    read,
    seek,
    async *lines(limit, final) {
      for (;;) {
        await toFloor(limit)
        const data = await read(position, limit - position)
        if (data.length === 0) {
          // A run that began the file anew: what was read is gone, and what is there is new.
          const end = await size()
          if (position <= end || readLogFloor(path) > end) break
          seek(0)
          continue
        }
        // Given back while it was read: what came may be a hole.
        if (position < readLogFloor(path)) continue
        position += data.length
        for (const line of splitter.push(data)) yield { ...line, open: false }
      }
      if (final) for (const line of splitter.end()) yield { ...line, open: true }
    },
    async lastLines(most) {
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
      await handle?.close()
      handle = undefined
    },
  }
}

/** The first offset of a log file that was not given back. A line that is still being written does not count. */
export function readLogFloor(path: string): number {
  try {
    return Number(readFileSync(`${path}.floor`, 'latin1').split('\n').at(-2) ?? 0)
  } catch {
    return 0
  }
}
