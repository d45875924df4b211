import type { CallContext } from '@vmkit/core/driver'
import { unmountFolder } from './files/mount.js'
import type { Host } from './host.js'
import { endLease, makersLease } from './images/leases.js'
import { releaseNetworkOf } from './net/connect.js'
import { removeRootfs, rootfsKey } from './snapshots/rootfs.js'
import { machineFolder, removeFolder } from './state-dir.js'

/** Removes what is left of a machine that has a folder and no container. The folder goes last: by it, the next list finds the rest. */
export async function removeOrphan(host: Host, uid: string, ctx: CallContext): Promise<void> {
  const folder = machineFolder(host.root, uid)
  await releaseNetworkOf(host, folder, uid)
  await unmountFolder(folder)
  const containerd = await host.containerd()
  await removeRootfs(containerd, { snapshotter: await host.images.snapshotter(ctx), key: rootfsKey(uid) }, { signal: ctx.signal })
  await endLease(containerd, makersLease(uid))
  removeFolder(folder)
}
