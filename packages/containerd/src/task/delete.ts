import { type CallContext, VMKitError } from '@vmkit/core/driver'
import { withLock } from '@vmkit/core/state-folder'
import { unmountFolder } from '../files/mount.js'
import { TASK_STATUS } from '../grpc/enums.js'
import { hasCode } from '../grpc/errors.js'
import { findMachine, type Host, taskOf } from '../host.js'
import { leavesGarbage } from '../images/gc-labels.js'
import { collectGarbage, endLease, makersLease } from '../images/leases.js'
import { releaseNetworks } from '../net/connect.js'
import { disarm } from '../restart.js'
import { removeRootfs } from '../snapshots/rootfs.js'
import { removeSnapshots } from '../snapshots/store.js'
import { removeFolder } from '../state-dir.js'
import { ended } from './stop.js'

/** Every trace goes: task, networks, snapshot, container, folder. Whoever dies on the way leaves a machine that can be deleted again. */
export async function remove(host: Host, id: string, force: boolean, ctx: CallContext): Promise<void> {
  const { folder } = await findMachine(host, id, ctx)
  await withLock({ id, folder: folder.path }, 'delete', ctx.signal, async () => {
    const machine = await findMachine(host, id, ctx)
    const { containerId, container } = machine
    const containerd = await host.containerd()
    if (force) await disarm(host, machine)
    const task = await taskOf(host, containerId, ctx, id)
    const runs = task !== undefined && task.status !== TASK_STATUS.stopped && task.status !== TASK_STATUS.created
    if (runs && !force) throw new VMKitError('INVALID_STATE', 'The machine runs', { driver: host.driver, vmId: id })
    if (task) {
      if (task.status !== TASK_STATUS.stopped) await ended(host, machine)
      await containerd.tasks.delete({ containerId }, { vmId: id }).catch(gone)
    }
    await releaseNetworks(host, machine)
    await unmountFolder(folder)
    await removeSnapshots(containerd, machine.uid)
    await removeRootfs(containerd, { snapshotter: container.snapshotter, key: container.snapshotKey }, { vmId: id })
    // Its maker may have been killed between the container and the end of the lease.
    await endLease(containerd, makersLease(machine.uid))
    await containerd.containers.delete({ id: containerId }, { vmId: id }).catch(gone)
    removeFolder(folder)
    if (leavesGarbage(container.labels)) await collectGarbage(containerd)
  })
}

function gone(error: unknown): void {
  if (!hasCode(error, 'NOT_FOUND')) throw error
}
