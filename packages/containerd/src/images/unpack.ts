/** Layers of the content store → committed snapshots, named by their chain ids. */
import { randomUUID } from 'node:crypto'
import { type CallContext, VMKitError } from '@vmkit/core/driver'
import type { ImageConfig, Manifest } from '@vmkit/oci'
import { CLEANUP_MS } from '../cleanup.js'
import type { Containerd } from '../grpc/connection.js'
import { hasCode } from '../grpc/errors.js'
import { chainIds } from './chain.js'

export interface Unpack {
  config: ImageConfig
  manifest: Manifest
  snapshotter: string
  lease: string
  /** Resolves once the layer is in the store; absent: all are. */
  ready?(digest: string): Promise<void> | undefined
}

/** Makes sure that the snapshots of all layers are there, and returns the topmost; '' for an image without layers. */
export async function unpackImage(containerd: Containerd, unpack: Unpack, ctx: CallContext): Promise<string> {
  const { config, manifest, snapshotter, lease, ready } = unpack
  const { signal } = ctx
  const chain = chainIds(config.rootfs.diff_ids)
  const top = chain.at(-1)
  if (top === undefined) return ''
  if (await hold(containerd, snapshotter, top, lease, signal)) return top
  for (const [index, layer] of manifest.layers.entries()) {
    const name = chain[index] as string
    if (await hold(containerd, snapshotter, name, lease, signal)) continue
    await ready?.(layer.digest)
    const key = `vmkit-unpack-${randomUUID()}`
    ctx.report({ phase: 'extract', item: layer.digest, current: index, total: chain.length, unit: 'steps' })
    try {
      const parent = chain[index - 1] ?? ''
      // Awaited whatever the caller does: the daemon goes on with a call whose client has left, and would make it after its removal.
      const { mounts } = await containerd.snapshots.prepare({ snapshotter, key, parent }, { lease })
      const { mediaType, digest, size } = layer
      const { applied } = await containerd.diff.apply({ diff: { mediaType, digest, size: BigInt(size) }, mounts }, { signal, lease })
      const expected = config.rootfs.diff_ids[index]
      if (applied?.digest !== expected) {
        throw new VMKitError('INVALID_CONFIG', `The layer ${digest} unpacks to ${applied?.digest}, and its config says ${expected}`, {
          field: 'config.image',
        })
      }
      await containerd.snapshots.commit({ snapshotter, name, key }, { signal, lease })
    } catch (error) {
      await containerd.snapshots.remove({ snapshotter, key }, { timeoutMs: CLEANUP_MS }).catch(() => undefined)
      // Somebody else unpacked the same layer meanwhile.
      if (!hasCode(error, 'ALREADY_EXISTS')) throw error
      await hold(containerd, snapshotter, name, lease, signal)
    }
  }
  ctx.report({ phase: 'extract', current: chain.length, total: chain.length, unit: 'steps' })
  return top
}

/** Whether a snapshot is there; if so the lease holds it. */
async function hold(containerd: Containerd, snapshotter: string, key: string, lease: string, signal: AbortSignal): Promise<boolean> {
  try {
    // In this order, as with content.
    await containerd.leases.addResource({ id: lease, resource: { id: key, type: `snapshots/${snapshotter}` } }, { signal })
    await containerd.snapshots.stat({ snapshotter, key }, { signal })
    return true
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return false
    throw error
  }
}
