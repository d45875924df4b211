import { invalidConfig } from '../errors.js'
import type { Stdin } from './vm-types.js'

/** Any input as a stream of bytes. @throws VMKitError `INVALID_CONFIG` for a chunk that is neither bytes nor text */
export async function* toChunks(input: Stdin, field = 'input'): AsyncGenerator<Uint8Array> {
  if (typeof input === 'string') yield Buffer.from(input)
  else if (input instanceof Uint8Array) yield input
  else for await (const chunk of input as AsyncIterable<unknown>) yield toBytes(chunk, field)
}

export async function readAll(input: Stdin, field?: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of toChunks(input, field)) chunks.push(chunk)
  return chunks.length === 1 ? (chunks[0] as Uint8Array) : Buffer.concat(chunks)
}

function toBytes(chunk: unknown, field: string): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk
  if (typeof chunk === 'string') return Buffer.from(chunk)
  throw invalidConfig(field, 'chunks of bytes', chunk)
}
