/** The root file system of a machine, as it is, as an image in the content store. */
import { randomUUID } from 'node:crypto'
import { type CallContext, VMKitError } from '@vmkit/core/driver'
import { type Descriptor, digestOf, type ImageConfig, type ImageSource, type Manifest, MEDIA_TYPES } from '@vmkit/oci'
import { CLEANUP_MS } from '../cleanup.js'
import type { Containerd } from '../grpc/connection.js'
import { TASK_STATUS } from '../grpc/enums.js'
import { hasCode } from '../grpc/errors.js'
import { type Host, type Machine, taskOf, unaborted } from '../host.js'
import { writeBlob } from '../images/content.js'
import { descriptorOf } from '../images/descriptor.js'
import { baseOf, documentLabels } from '../images/gc-labels.js'
import { openStored } from '../images/store.js'

export interface Committed {
  /** Of its manifest. */
  descriptor: Descriptor
  /** What the machine has of its own, in bytes. */
  sizeBytes: number
  createdAt: number
}

/** Takes what the machine changed as one more layer. Under the machine's lock; a machine that runs should be frozen. */
export async function commitRootfs(host: Host, machine: Machine, lease: string, ctx: CallContext): Promise<Committed> {
  const containerd = await host.containerd()
  await using base = await openBase(host, machine, ctx.signal)
  const layer = await diffOf(containerd, machine, lease, ctx)
  const created = new Date()
  const config: ImageConfig = {
    ...base.config,
    created: created.toISOString(),
    rootfs: { type: 'layers', diff_ids: [...base.config.rootfs.diff_ids, layer.digest] },
    history: [...(base.config.history ?? []), { created: created.toISOString(), created_by: 'vmkit' }],
  }
  const configBytes = jsonBytes(config)
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: describe(configBytes, MEDIA_TYPES.config),
    layers: [...base.manifest.layers.map(ociLayer), layer],
  }
  const manifestBytes = jsonBytes(manifest)
  const descriptor = describe(manifestBytes, MEDIA_TYPES.manifest)
  await store(containerd, manifest.config, configBytes, {}, lease, ctx)
  await store(
    containerd,
    descriptor,
    manifestBytes,
    documentLabels({ descriptor, bytes: manifestBytes }, manifest.config, manifest),
    lease,
    ctx,
  )
  return { descriptor, sizeBytes: layer.size, createdAt: created.getTime() }
}

/** What a machine stands on, as an image. */
async function openBase(host: Host, { id, container }: Machine, signal: AbortSignal): Promise<ImageSource> {
  const containerd = await host.containerd()
  const digest = baseOf(container.labels)
  try {
    if (digest === undefined)
      throw new VMKitError('NOT_FOUND', 'The machine does not say which image it is of', { driver: host.driver, vmId: id })
    const { info } = await containerd.content.info({ digest }, { signal, vmId: id })
    const root = { mediaType: MEDIA_TYPES.manifest, digest, size: Number(info?.size ?? 0) }
    return await openStored(containerd, container.image, root, { signal })
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND')) throw error
    throw new VMKitError('BACKEND_ERROR', `The image that the machine was made of is not whole in containerd any more: ${error.message}`, {
      driver: host.driver,
      vmId: id,
      cause: error,
    })
  }
}

/** Runs `work` while nothing in the machine changes: frozen when it runs, and thawed again however it ends. */
export async function whileFrozen<T>(host: Host, { id, containerId }: Machine, ctx: CallContext, work: () => Promise<T>): Promise<T> {
  const task = await taskOf(host, containerId, ctx, id)
  if (task?.status !== TASK_STATUS.running) return work()
  const containerd = await host.containerd()
  // It is awaited: the daemon goes on with a call whose client has left.
  await containerd.tasks.pause({ containerId }, { vmId: id })
  try {
    return await work()
  } finally {
    await containerd.tasks.resume({ containerId }, { signal: unaborted().signal, vmId: id }).catch((error: unknown) => {
      // It ended meanwhile, or somebody thawed it.
      if (!hasCode(error, 'NOT_FOUND', 'INVALID_STATE')) throw error
    })
  }
}

async function diffOf(
  containerd: Containerd,
  { id, container }: Machine,
  lease: string,
  { signal, report }: CallContext,
): Promise<Descriptor> {
  const { snapshotter, snapshotKey: key } = container
  const view = `vmkit-view-${randomUUID()}`
  const call = { signal, lease, vmId: id }
  report({ phase: 'disk', message: 'looking for what the machine changed' })
  const { info } = await containerd.snapshots.stat({ snapshotter, key }, call)
  try {
    // Awaited whatever the caller does: the daemon would make it after its removal.
    const { mounts: left } = await containerd.snapshots.view({ snapshotter, key: view, parent: info?.parent ?? '' }, { lease, vmId: id })
    const { mounts: right } = await containerd.snapshots.mounts({ snapshotter, key }, call)
    const { diff } = await containerd.diff.diff({ left, right, mediaType: MEDIA_TYPES.layer, ref: view }, call)
    if (diff === undefined) throw new VMKitError('BACKEND_ERROR', 'containerd gave no diff of the root file system', { vmId: id })
    return descriptorOf(diff)
  } finally {
    await containerd.snapshots.remove({ snapshotter, key: view }, { timeoutMs: CLEANUP_MS }).catch(() => undefined)
  }
}

/** An OCI manifest names layers by OCI's types; those of Docker are the same bytes. */
function ociLayer(layer: Descriptor): Descriptor {
  const { dockerLayer, dockerLayerGzip, layer: plain, layerGzip } = MEDIA_TYPES
  const mediaType = layer.mediaType === dockerLayerGzip ? layerGzip : layer.mediaType === dockerLayer ? plain : layer.mediaType
  return { ...layer, mediaType }
}

const jsonBytes = (value: unknown) => Buffer.from(JSON.stringify(value))
const describe = (bytes: Uint8Array, mediaType: string): Descriptor => ({ mediaType, digest: digestOf(bytes), size: bytes.length })

async function store(
  containerd: Containerd,
  descriptor: Descriptor,
  bytes: Uint8Array,
  labels: Record<string, string>,
  lease: string,
  { signal }: CallContext,
): Promise<void> {
  async function* content(offset: number) {
    yield bytes.subarray(offset)
  }
  await writeBlob(containerd, { descriptor, content, labels, lease, signal })
}
