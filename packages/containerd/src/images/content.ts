/** Blobs in containerd's content store: written once, under their digest, resumable. */
import { setTimeout as wait } from 'node:timers/promises'
import { VMKitError } from '@vmkit/core/driver'
import type { Descriptor } from '@vmkit/oci'
import { CLEANUP_MS } from '../cleanup.js'
import type { Containerd } from '../grpc/connection.js'
import { WRITE_ACTION } from '../grpc/enums.js'
import { abortReason, hasCode } from '../grpc/errors.js'

/** One message to the store; the daemon takes 16 MiB at most. Each is copied thrice on its way, for some layers at a time: that is memory. */
const CHUNK_BYTES = 2 ** 19
/** Blobs below it are begun anew rather than resumed. */
const RESUMABLE_BYTES = 4 * 2 ** 20
const LOCKED_PAUSE_MS = 100

export interface BlobWrite {
  descriptor: Descriptor
  /** The bytes from this offset on. */
  content(offset: number): AsyncIterable<Uint8Array>
  labels?: Record<string, string>
  lease: string
  signal: AbortSignal
  /** Bytes that are in the store by now. */
  progress?(bytes: number): void
}

/** Makes sure that the store has the blob, and that the lease holds it. Goes on where an earlier attempt broke off. */
export async function writeBlob(containerd: Containerd, blob: BlobWrite): Promise<void> {
  for (;;) {
    if (await adopt(containerd, blob)) return
    try {
      return await ingest(containerd, blob)
    } catch (error) {
      if (hasCode(error, 'ALREADY_EXISTS')) continue
      // Another process writes the same blob: it is theirs to finish, or ours when they give up.
      if (!isLocked(error)) throw error
      await wait(LOCKED_PAUSE_MS, undefined, { signal: blob.signal }).catch(() => {
        throw abortReason(blob.signal)
      })
    }
  }
}

/** Whether the blob is there; if so it belongs to the lease now, and has the labels. */
async function adopt(containerd: Containerd, { descriptor, labels, lease, signal, progress }: BlobWrite): Promise<boolean> {
  const { digest } = descriptor
  try {
    // First the lease, which may hold what is not there: the collector of garbage could take it between a look and the lease.
    await containerd.leases.addResource({ id: lease, resource: { id: digest, type: 'content' } }, { signal })
    await containerd.content.info({ digest }, { signal })
    if (labels !== undefined && Object.keys(labels).length > 0) await labelContent(containerd, digest, labels, signal)
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return false
    throw error
  }
  progress?.(descriptor.size)
  return true
}

export async function labelContent(
  containerd: Containerd,
  digest: string,
  labels: Record<string, string>,
  signal: AbortSignal,
): Promise<void> {
  const paths = Object.keys(labels).map((name) => `labels.${name}`)
  await containerd.content.update({ info: { digest, labels }, updateMask: { paths } }, { signal })
}

async function ingest(containerd: Containerd, { descriptor, content, labels, lease, signal, progress }: BlobWrite): Promise<void> {
  const { digest, size } = descriptor
  const ref = refOf(descriptor)
  const total = BigInt(size)
  if (size >= RESUMABLE_BYTES) await allocate(containerd, descriptor, signal)
  const writer = containerd.content.write({ signal, lease })
  const answer = async () => {
    const said = await writer.next()
    if (said === undefined) throw new VMKitError('BACKEND_ERROR', `containerd ended the write of ${digest} early`)
    return said
  }
  try {
    writer.send({ action: WRITE_ACTION.stat, ref, total, expected: digest })
    let offset = Number((await answer()).offset)
    // More than it can be is broken; to begin anew is always allowed.
    if (offset > size) offset = 0
    progress?.(offset)
    // The next chunk is read while the daemon writes this one.
    let written: Promise<unknown> = Promise.resolve()
    for await (const data of chunksOf(content(offset))) {
      await written
      writer.send({ action: WRITE_ACTION.write, ref, total, expected: digest, offset: BigInt(offset), data })
      const end = offset + data.length
      written = answer().then(() => progress?.(end))
      // It is told when it is awaited, below or in the next turn.
      written.catch(() => undefined)
      offset = end
    }
    await written
    writer.send({ action: WRITE_ACTION.commit, ref, total, expected: digest, offset: BigInt(offset), labels: labels ?? {} })
    await answer()
  } catch (error) {
    if (isDigestMismatch(error)) await containerd.content.abort({ ref }, { timeoutMs: CLEANUP_MS }).catch(() => undefined)
    throw error
  } finally {
    writer.cancel()
  }
}

/** Large ones are called as containerd's own pulls call layers (`remotes.MakeRefKey`): each goes on with what another has begun. */
function refOf({ digest, size }: Descriptor): string {
  return size >= RESUMABLE_BYTES ? `layer-${digest}` : `vmkit-${digest}`
}

/** For a pull by somebody else: see `allocate`. */
export async function keepUploads(containerd: Containerd, layers: readonly Descriptor[], signal: AbortSignal): Promise<void> {
  const large = layers.filter(({ size }) => size >= RESUMABLE_BYTES)
  const allocating = large.map((layer) =>
    allocate(containerd, layer, signal).catch((error: unknown) => {
      // It is whole already, or somebody is at it.
      if (!hasCode(error, 'ALREADY_EXISTS') && !isLocked(error)) throw error
    }),
  )
  await settled(allocating)
}

/** After a pull by somebody else that failed: what was written is worth nothing when it is not what was promised. */
export async function dropBroken(containerd: Containerd, layers: readonly Descriptor[], failure: unknown): Promise<void> {
  if (!isDigestMismatch(failure)) return
  const dropping = layers.map(({ digest }) => containerd.content.abort({ ref: `layer-${digest}` }, { timeoutMs: CLEANUP_MS }))
  await Promise.allSettled(dropping)
}

/** Waits for all, so that nothing is written any more when it rejects; with the first failure. */
export async function settled(work: readonly Promise<void>[]): Promise<void> {
  const first = Promise.all(work)
  first.catch(() => undefined)
  await Promise.allSettled(work)
  await first
}

/**
 * An ingest begun without a lease lives a day, so that a broken pull can go on although its lease is gone; one begun under a lease
 * would go with it.
 */
async function allocate(containerd: Containerd, descriptor: Descriptor, signal: AbortSignal): Promise<void> {
  const { digest, size } = descriptor
  const ref = refOf(descriptor)
  const total = BigInt(size)
  const { statuses } = await containerd.content.listStatuses({ filters: [`ref==${ref}`] }, { signal })
  if (statuses.length > 0) return
  const writer = containerd.content.write({ signal })
  try {
    writer.send({ action: WRITE_ACTION.stat, ref, total, expected: digest })
    await writer.next()
    writer.end()
    // The end of the call, after which the daemon holds no lock on it.
    while ((await writer.next()) !== undefined);
  } finally {
    writer.cancel()
  }
}

function isLocked(error: unknown): boolean {
  return error instanceof VMKitError && /\bref \S+ locked\b/.test(error.message)
}

/** containerd's words, or those of `@vmkit/oci`: what was written so far is worth nothing. */
function isDigestMismatch(error: unknown): boolean {
  return (
    error instanceof VMKitError &&
    /unexpected commit (digest|size)|failed size validation|has the digest|is longer than/i.test(error.message)
  )
}

/** Gathers small chunks and splits large ones. */
async function* chunksOf(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let gathered: Uint8Array[] = []
  let length = 0
  for await (const chunk of content) {
    for (let start = 0; start < chunk.length; start += CHUNK_BYTES) {
      const part = chunk.subarray(start, start + CHUNK_BYTES)
      if (length + part.length > CHUNK_BYTES) {
        yield Buffer.concat(gathered, length)
        gathered = []
        length = 0
      }
      gathered.push(part)
      length += part.length
    }
  }
  if (length > 0) yield Buffer.concat(gathered, length)
}

/** A blob of the store. @throws `NOT_FOUND` */
export async function* readBlob(
  containerd: Containerd,
  digest: string,
  { signal, offset = 0 }: { signal?: AbortSignal; offset?: number } = {},
): AsyncGenerator<Uint8Array> {
  for await (const { data } of containerd.content.read({ digest, offset: BigInt(offset) }, { signal })) yield data
}
