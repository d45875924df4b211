import { createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { VMKitError } from '@vmkit/core/driver'
import { abortReason, codeOf } from './errors.js'

export interface Spooled {
  readonly path: string
  remove(): Promise<void>
}

/** Reads `content` to its end into a private temporary file. After a failure there is none. */
export async function spool(content: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<Spooled> {
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-oci-'))
  const path = join(folder, 'content')
  const remove = () => rm(folder, { recursive: true, force: true })
  try {
    await pipeline(content, createWriteStream(path, { mode: 0o600 }), { signal })
  } catch (error) {
    await remove()
    throw signal?.aborted ? abortReason(signal) : outOfSpace(error)
  }
  return { path, remove }
}

export function outOfSpace(error: unknown): unknown {
  if (codeOf(error) !== 'ENOSPC' && codeOf(error) !== 'EDQUOT') return error
  return new VMKitError('RESOURCE_EXHAUSTED', `There is no space left for the image: ${(error as Error).message}`, { cause: error })
}
