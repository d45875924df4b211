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

/** Mounts of snapshots that this program made, for their first use: they do not change. */
const fresh = new WeakMap<Containerd, Map<string, Mount[]>>()
const MOST_FRESH = 256

/** Until a container names the snapshot, only a lease or its labels hold it. */
export async function prepareRootfs(
  containerd: Containerd,
  { snapshotter, key, parent, labels = {} }: RootfsKey & { parent: string; labels?: Record<string, string> },
  options: { signal?: AbortSignal; lease?: string; vmId?: string },
): Promise<Mount[]> {
  const { mounts } = await containerd.snapshots.prepare({ snapshotter, key, parent, labels }, options)
  const known = fresh.get(containerd) ?? new Map<string, Mount[]>()
  fresh.set(containerd, known.set(`${snapshotter}/${key}`, mounts))
  const [oldest] = known.keys()
  if (known.size > MOST_FRESH && oldest !== undefined) known.delete(oldest)
  return mounts
}

/** @throws `NOT_FOUND`, when it is asked for after its first use */
export async function rootfsMounts(
  containerd: Containerd,
  { snapshotter, key }: RootfsKey,
  options: { signal: AbortSignal; vmId?: string },
): Promise<Mount[]> {
  const known = fresh.get(containerd)
  const prepared = known?.get(`${snapshotter}/${key}`)
  known?.delete(`${snapshotter}/${key}`)
  return prepared ?? (await containerd.snapshots.mounts({ snapshotter, key }, options)).mounts
}

/** Harmless when it is gone. */
export async function removeRootfs(
  containerd: Containerd,
  { snapshotter, key }: RootfsKey,
  options: { signal?: AbortSignal; timeoutMs?: number; vmId?: string },
): Promise<void> {
  fresh.get(containerd)?.delete(`${snapshotter}/${key}`)
  try {
    await containerd.snapshots.remove({ snapshotter, key }, options)
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND')) throw error
  }
}
