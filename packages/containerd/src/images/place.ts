/** From any source (registry, archive, layout, bundle) into the daemon: content, snapshots, name. */
import type { CallContext, ImageInfo } from '@vmkit/core/driver'
import { type ImageSource, parseReference, type Reference } from '@vmkit/oci'
import type { Containerd } from '../grpc/connection.js'
import type { ImageAccess } from './access.js'
import { labelContent, settled, writeBlob } from './content.js'
import { documentLabels, layerLabels, snapshotLabel } from './gc-labels.js'
import { withLease } from './leases.js'
import { createdAt, imageSize, nameImage, reportBytes } from './store.js'
import { unpackImage } from './unpack.js'

/** Layers on their way at a time. More help little on one connection, and cost memory. */
const PARALLEL_LAYERS = 3

export interface Place {
  name: string
  labels?: Record<string, string>
  /** Whoever brings some of it there first, under the lease: what is there is not written again. */
  before?(lease: string): Promise<void>
}

export interface Placed extends ImageInfo {
  /** As containerd knows it. */
  name: string
}

/**
 * Copies an image into the daemon under `name`, and unpacks it. All or nothing but for what a later attempt can use: blobs that were
 * begun live a day without a name. Afterwards no lease is left.
 */
export async function placeImage(
  access: ImageAccess,
  source: ImageSource,
  { name, labels = {}, before }: Place,
  ctx: CallContext,
): Promise<Placed> {
  const containerd = await access.containerd()
  const snapshotter = await access.snapshotter(ctx)
  const target = source.documents[0]?.descriptor ?? source.descriptor
  await withLease(containerd, ctx, async (lease) => {
    await before?.(lease)
    const { config, manifest } = source
    // A layer is unpacked while those above it are still on their way.
    await writeContent(containerd, source, originOf(name), lease, ctx, async (ready, inner) => {
      await unpackImage(containerd, { config, manifest, snapshotter, lease, ready }, inner)
    })
    await labelContent(containerd, source.manifest.config.digest, snapshotLabel(source.config, snapshotter), ctx.signal)
    await nameImage(containerd, name, target, labels, { signal: ctx.signal, lease })
  })
  return {
    name,
    reference: parseReference(name).familiar,
    id: target.digest,
    sizeBytes: imageSize(source.manifest),
    createdAt: createdAt(source.config),
  }
}

/** Names that vmkit gives by itself are of no registry. */
function originOf(name: string): Reference | undefined {
  const reference = parseReference(name)
  return reference.registry === 'vmkit.local' ? undefined : reference
}

/**
 * What an image consists of, into the content store. Layers first: a document that is in the store promises that what it names is too.
 * `origin`: the registry and repository that its layers are also found at. `meanwhile` is done beside the layers, and waits for each.
 */
export async function writeContent(
  containerd: Containerd,
  source: ImageSource,
  origin: Reference | undefined,
  lease: string,
  ctx: CallContext,
  meanwhile?: (ready: (digest: string) => Promise<void> | undefined, ctx: CallContext) => Promise<void>,
): Promise<void> {
  const { manifest, config, documents } = source
  const failed = new AbortController()
  const inner: CallContext = { ...ctx, signal: AbortSignal.any([ctx.signal, failed.signal]) }
  const endOthers = (error: unknown): never => {
    failed.abort(error)
    throw error
  }
  const inTurn = limiter(PARALLEL_LAYERS)
  const { signal } = inner
  const writes = new Map<string, Promise<void>>()
  for (const [index, descriptor] of manifest.layers.entries()) {
    const { digest, size } = descriptor
    // The same layer may come twice.
    if (writes.has(digest)) continue
    const write = () =>
      writeBlob(containerd, {
        descriptor,
        // containerd verifies the digest when a blob is whole: hashing it here too would take as long as the download.
        content: (offset) => source.blob(descriptor, { signal, offset, sizeOnly: true }),
        labels: layerLabels(config.rootfs.diff_ids[index], origin),
        lease,
        signal,
        progress: reportBytes(ctx, digest, size),
      })
    writes.set(digest, inTurn(write).catch(endOthers))
  }
  await settled([...writes.values(), ...(meanwhile ? [meanwhile((digest) => writes.get(digest), inner).catch(endOthers)] : [])])
  for (const [index, document] of [...documents.entries()].reverse()) {
    await writeBlob(containerd, {
      descriptor: document.descriptor,
      content: (offset) => once(document.bytes.subarray(offset)),
      labels: documentLabels(document, documents[index + 1]?.descriptor, manifest),
      lease,
      signal: ctx.signal,
    })
  }
}

/** Runs what it is given, the earliest first, so many at a time. */
function limiter(most: number): (work: () => Promise<void>) => Promise<void> {
  let running = 0
  const waiting: (() => void)[] = []
  return async (work) => {
    if (running === most) await new Promise<void>((go) => waiting.push(go))
    else running += 1
    try {
      await work()
    } finally {
      const go = waiting.shift()
      if (go) go()
      else running -= 1
    }
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
