import { createReadStream } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'

const MOST_IN_MEMORY = 4 * 2 ** 20

/** Bytes of known size that can be read more than once: small ones in memory, others in a private temporary file. */
export interface Spooled extends AsyncDisposable {
  readonly size: number
  read(): Readable
}

/** Reads `content` to its end. A tar header needs the size before the first byte, and a check needs all before an effect. */
export async function spool(
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Spooled> {
  const chunks: Uint8Array[] = []
  let size = 0
  let folder: string | undefined
  let file: Awaited<ReturnType<typeof open>> | undefined
  const discard = async (): Promise<void> => {
    await file?.close().catch(() => {})
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  }
  try {
    for await (const chunk of content) {
      signal?.throwIfAborted()
      size += chunk.length
      if (!file && size > MOST_IN_MEMORY) {
        folder = await mkdtemp(join(tmpdir(), 'vmkit-docker-'))
        file = await open(join(folder, 'content'), 'wx', 0o600)
        for (const held of chunks.splice(0)) await file.appendFile(held)
      }
      if (file) await file.appendFile(chunk)
      else chunks.push(chunk)
    }
  } catch (error) {
    await discard()
    throw error
  }
  return {
    size,
    read: () =>
      folder === undefined ? Readable.from([Buffer.concat(chunks)], { objectMode: false }) : createReadStream(join(folder, 'content')),
    [Symbol.asyncDispose]: discard,
  }
}
