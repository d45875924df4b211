import { createReadStream } from 'node:fs'
import { type FileHandle, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { abortReason, codeOf } from './errors.js'
import type { BlobOptions } from './source.js'

/** Files by path with `/`: those of a folder, or those inside an archive. */
export interface Files {
  /** Bytes; `undefined` when there is no such file. */
  size(path: string): Promise<number | undefined>
  read(path: string, options?: BlobOptions): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

export function folderFiles(folder: string): Files {
  return {
    async size(path) {
      const found = await stat(join(folder, path)).catch((error: unknown) => {
        if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
        throw error
      })
      return found?.isFile() ? found.size : undefined
    },
    read: (path, options) => readFileFrom(join(folder, path), options),
    close: async () => {},
  }
}

const CHUNK = 256 * 1024

export async function* readFileFrom(path: string, { offset = 0, signal }: BlobOptions = {}): AsyncGenerator<Uint8Array> {
  const stream = createReadStream(path, { start: offset, highWaterMark: CHUNK, signal })
  try {
    yield* stream as AsyncIterable<Uint8Array>
  } catch (error) {
    throw signal?.aborted ? abortReason(signal) : error
  }
}

/** A part of an open file. */
export async function* readRange(
  file: FileHandle,
  start: number,
  length: number,
  { offset = 0, signal }: BlobOptions = {},
): AsyncGenerator<Uint8Array> {
  const end = start + length
  for (let at = start + offset; at < end; ) {
    if (signal?.aborted) throw abortReason(signal)
    // A new buffer for each: whoever reads may keep what it got.
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(CHUNK, end - at)), 0, undefined, at)
    if (bytesRead === 0) return
    at += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}
