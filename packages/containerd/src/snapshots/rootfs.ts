/** The writable root file system of a machine: an active snapshot over an image's layers. */
import type { Containerd } from '../grpc/connection.js'
import { hasCode } from '../grpc/errors.js'

export interface Mount {
  type: string
  source: string
  target: string
  options: string[]
}

export interface RootfsKey {
  snapshotter: string
  key: string
}

/** The key of a machine's first root file system; a restore makes others. */
export const rootfsKey = (uid: string): string => `vmkit-${uid}`

/** Until a container names the snapshot, only a lease or its labels hold it. */
export async function prepareRootfs(
  containerd: Containerd,
  { snapshotter, key, parent, labels = {} }: RootfsKey & { parent: string; labels?: Record<string, string> },
  options: { signal?: AbortSignal; lease?: string; vmId?: string },
): Promise<Mount[]> {
  const { mounts } = await containerd.snapshots.prepare({ snapshotter, key, parent, labels }, options)
  return mounts
}

/** @throws `NOT_FOUND` */
export async function rootfsMounts(
  containerd: Containerd,
  { snapshotter, key }: RootfsKey,
  options: { signal: AbortSignal; vmId?: string },
): Promise<Mount[]> {
  const { mounts } = await containerd.snapshots.mounts({ snapshotter, key }, options)
  return mounts
}

/** Harmless when it is gone. */
export async function removeRootfs(
  containerd: Containerd,
  { snapshotter, key }: RootfsKey,
  options: { signal?: AbortSignal; timeoutMs?: number; vmId?: string },
): Promise<void> {
  try {
    await containerd.snapshots.remove({ snapshotter, key }, options)
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND')) throw error
  }
}
