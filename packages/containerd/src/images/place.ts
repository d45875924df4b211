/** From any source (registry, archive, layout, bundle) into the daemon: content, snapshots, name. */
import type { CallContext, ImageInfo } from '@vmkit/core/driver'
import { type ImageSource, parseReference, type Reference } from '@vmkit/oci'
import type { Containerd } from '../grpc/connection.js'
import type { ImageAccess } from './access.js'
import { labelContent, writeBlob } from './content.js'
import { documentLabels, layerLabels, snapshotLabel } from './gc-labels.js'
import { withLease } from './leases.js'
import { createdAt, imageSize, nameImage, reportBytes } from './store.js'
import { unpackImage } from './unpack.js'

/** Layers on their way at a time. More help little on one connection, and cost memory. */
const PARALLEL_LAYERS = 3

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
  { name, labels = {} }: { name: string; labels?: Record<string, string> },
  ctx: CallContext,
): Promise<Placed> {
  const containerd = await access.containerd()
  const snapshotter = await access.snapshotter(ctx)
  const target = source.documents[0]?.descriptor ?? source.descriptor
  await withLease(containerd, ctx, async (lease) => {
    await writeContent(containerd, source, originOf(name), lease, ctx)
    await unpackImage(containerd, { config: source.config, manifest: source.manifest, snapshotter, lease }, ctx)
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
 * `origin`: the registry and repository that its layers are also found at.
 */
export async function writeContent(
  containerd: Containerd,
  source: ImageSource,
  origin: Reference | undefined,
  lease: string,
  ctx: CallContext,
): Promise<void> {
  const { manifest, config, documents } = source
  // The same layer may come twice.
  const layers = manifest.layers.map((descriptor, index) => ({ descriptor, diffId: config.rootfs.diff_ids[index] }))
  const distinct = layers.filter(
    ({ descriptor }, index) => layers.findIndex((each) => each.descriptor.digest === descriptor.digest) === index,
  )
  const failed = new AbortController()
  const signal = AbortSignal.any([ctx.signal, failed.signal])
  const next = distinct.values()
  const worker = async () => {
    for (const { descriptor, diffId } of next) {
      await writeBlob(containerd, {
        descriptor,
        content: (offset) => source.blob(descriptor, { signal, offset }),
        labels: layerLabels(diffId, origin),
        lease,
        signal,
        progress: reportBytes(ctx, descriptor.digest, descriptor.size),
      })
    }
  }
  const workers = Array.from({ length: PARALLEL_LAYERS }, () =>
    worker().catch((error: unknown) => {
      failed.abort(error)
      throw error
    }),
  )
  await settled(workers)
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

/** Waits for all, so that nothing is written any more when it rejects; with the first failure. */
async function settled(workers: Promise<void>[]): Promise<void> {
  const first = Promise.all(workers)
  first.catch(() => undefined)
  await Promise.allSettled(workers)
  await first
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
