import { pipeline, Readable } from 'node:stream'
import { badImage } from './errors.js'
import type { ErrorContext } from './source.js'
import type { Descriptor } from './types.js'

export type Compression = 'none' | 'gzip' | 'zstd'

export function compressionOf({ mediaType }: Pick<Descriptor, 'mediaType'>): Compression | undefined {
  if (/[+.]gzip$/.test(mediaType)) return 'gzip'
  if (/\+zstd$/.test(mediaType)) return 'zstd'
  return /\.(?:tar|nondistributable)$|layer\.v1\.tar$|diff\.tar$/.test(mediaType) ? 'none' : undefined
}

/** By the first bytes: RFC 1952 and RFC 8878. */
export function detectCompression(start: Uint8Array): Compression {
  if (start[0] === 0x1f && start[1] === 0x8b) return 'gzip'
  if (start[0] === 0x28 && start[1] === 0xb5 && start[2] === 0x2f && start[3] === 0xfd) return 'zstd'
  return 'none'
}

/** The uncompressed bytes. An error of the source itself comes out as it is. */
export async function* decompress(
  content: AsyncIterable<Uint8Array>,
  compression: Compression,
  errors: ErrorContext,
): AsyncGenerator<Uint8Array> {
  if (compression === 'none') return yield* content
  let sourceError: unknown
  const watched = watch(content, (error) => {
    sourceError = error
  })
  try {
    const zlib = await import('node:zlib')
    if (compression === 'gzip') yield* through(watched, zlib.createGunzip({ chunkSize: 256 * 1024 }))
    // Node has it from 22.15 and 23.8 on.
    else if ('createZstdDecompress' in zlib) yield* through(watched, (zlib.createZstdDecompress as () => NodeJS.ReadWriteStream)())
    else yield* zstdInScript(watched)
  } catch (error) {
    if (sourceError !== undefined) throw sourceError
    throw badImage(`A ${compression} stream is broken: ${(error as Error).message}`, errors, { cause: error })
  }
}

async function* watch(content: AsyncIterable<Uint8Array>, failed: (error: unknown) => void): AsyncGenerator<Uint8Array> {
  try {
    yield* content
  } catch (error) {
    failed(error)
    throw error
  }
}

async function* through(content: AsyncIterable<Uint8Array>, transform: NodeJS.ReadWriteStream): AsyncGenerator<Uint8Array> {
  const output = pipeline(Readable.from(content, { objectMode: false }), transform, () => {
    // The iterator below throws the error too.
  })
  yield* output as unknown as AsyncIterable<Uint8Array>
}

/** A zstd block of 4 bytes can stand for 128 KiB: small pieces bound what one of them becomes. */
const PIECE = 1024

async function* zstdInScript(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { Decompress } = await import('fzstd')
  let ready: Uint8Array[] = []
  const decoder = new Decompress((chunk) => {
    if (chunk.length > 0) ready.push(chunk)
  })
  for await (const chunk of content) {
    for (let at = 0; at < chunk.length; at += PIECE) {
      decoder.push(chunk.subarray(at, at + PIECE))
      const done = ready
      ready = []
      yield* done
    }
  }
  decoder.push(new Uint8Array(0), true)
  yield* ready
}
