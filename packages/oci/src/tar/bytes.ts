import type { FileHandle } from 'node:fs/promises'
import { readRange } from '../files.js'

/** Bytes that are read in order. */
export interface ByteReader {
  /** Bytes read or skipped so far. */
  position(): number
  /** The next `length` bytes; fewer only at the end. */
  take(length: number): Promise<Uint8Array>
  /** At most `length` bytes, as they come; `undefined` at the end. */
  some(length: number): Promise<Uint8Array | undefined>
  /** Returns how many bytes there really were. */
  skip(length: number): Promise<number>
  /** Stops the source. */
  close(): Promise<void>
}

export function streamBytes(source: AsyncIterable<Uint8Array>): ByteReader {
  const iterator = source[Symbol.asyncIterator]()
  let rest: Uint8Array = new Uint8Array(0)
  let position = 0
  const some = async (length: number): Promise<Uint8Array | undefined> => {
    while (rest.length === 0) {
      const next = await iterator.next()
      if (next.done) return undefined
      rest = next.value
    }
    const part = rest.subarray(0, length)
    rest = rest.subarray(part.length)
    position += part.length
    return part
  }
  return {
    position: () => position,
    some,
    take: (length) => gather(some, length),
    async skip(length) {
      let skipped = 0
      while (skipped < length) {
        const part = await some(length - skipped)
        if (!part) break
        skipped += part.length
      }
      return skipped
    },
    async close() {
      await iterator.return?.()
    },
  }
}

/** Skips without reading. The file stays open. */
export function fileBytes(file: FileHandle, size: number): ByteReader {
  let position = 0
  const some = async (length: number): Promise<Uint8Array | undefined> => {
    for await (const part of readRange(file, position, Math.min(length, size - position))) {
      position += part.length
      return part
    }
    return undefined
  }
  return {
    position: () => position,
    some,
    take: (length) => gather(some, length),
    async skip(length) {
      const skipped = Math.min(length, size - position)
      position += skipped
      return skipped
    },
    close: async () => {},
  }
}

async function gather(some: ByteReader['some'], length: number): Promise<Uint8Array> {
  const first = await some(length)
  if (!first || first.length === length) return first ?? new Uint8Array(0)
  const parts = [first]
  let size = first.length
  while (size < length) {
    const part = await some(length - size)
    if (!part) break
    parts.push(part)
    size += part.length
  }
  return Buffer.concat(parts)
}
