import type { LogSource, OutputChunk } from '@vmkit/core/driver'

const HEADER_BYTES = 8

/**
 * Docker's multiplexed stream (Engine API, "Attach to a container": one byte stream number, three zero bytes, four bytes
 * length in big-endian order, then the data). Chunks may be cut anywhere. A cut at the end is dropped: it was never whole.
 */
export async function* frames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<OutputChunk> {
  let rest = Buffer.alloc(0)
  for await (const chunk of chunks) {
    rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk])
    let offset = 0
    while (rest.length - offset >= HEADER_BYTES) {
      const end = offset + HEADER_BYTES + rest.readUInt32BE(offset + 4)
      if (rest.length < end) break
      yield { source: sourceOf(rest[offset]), data: rest.subarray(offset + HEADER_BYTES, end) }
      offset = end
    }
    rest = rest.subarray(offset)
  }
}

/** A terminal's stream: one source, no frames. */
export async function* terminal(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<OutputChunk> {
  for await (const data of chunks) yield { source: 'console', data }
}

function sourceOf(stream: number | undefined): LogSource {
  return stream === 2 ? 'stderr' : 'stdout'
}
