import { type CallContext, VMKitError } from '@vmkit/core/driver'
import { unmountFolder } from '../files/mount.js'
import { TASK_STATUS } from '../grpc/enums.js'
import { hasCode } from '../grpc/errors.js'
import type { Process } from '../grpc/generated/task_types_pb.js'
import { type Host, lockMachine, type Machine, taskOf } from '../host.js'
import { leavesGarbage } from '../images/gc-labels.js'
import { collectGarbage, endLease, makersLease } from '../images/leases.js'
import { releaseNetworks } from '../net/connect.js'
import { disarm, isArmed } from '../restart.js'
import { removeRootfs } from '../snapshots/rootfs.js'
import { removeSnapshots } from '../snapshots/store.js'
import { removeFolder } from '../state-dir.js'
import { ended } from './stop.js'

/** Every trace goes: task, networks, snapshot, container, folder. Whoever dies on the way leaves a machine that can be deleted again. */
export async function remove(host: Host, id: string, force: boolean, ctx: CallContext): Promise<void> {
  await lockMachine(host, id, 'delete', ctx, async (machine, found) => {
    const { containerId, container, folder } = machine
    const containerd = await host.containerd()
    if (force) await disarm(host, machine)
    // The restart monitor may have started it meanwhile.
    const task = force && isArmed(machine) ? await taskOf(host, containerId, ctx, id) : found
    const runs = task !== undefined && task.status !== TASK_STATUS.stopped && task.status !== TASK_STATUS.created
    if (runs && !force) throw new VMKitError('INVALID_STATE', 'The machine runs', { driver: host.driver, vmId: id })
    // None needs another; the record comes later, as it is what a second attempt goes by.
    await Promise.all([
      endTask(host, machine, task),
      removeSnapshots(containerd, machine.uid),
      // Its maker may have been killed between the container and the end of the lease.
      endLease(containerd, makersLease(machine.uid)),
    ])
    await releaseNetworks(host, machine)
    await unmountFolder(folder)
    // The folder goes last: by it, whoever looks next finds a snapshot that outlived its container.
    await Promise.all([
      removeRootfs(containerd, { snapshotter: container.snapshotter, key: container.snapshotKey }, { vmId: id }),
      containerd.containers.delete({ id: containerId }, { vmId: id }).catch(gone),
    ])
    removeFolder(folder)
    if (leavesGarbage(container.labels)) await collectGarbage(containerd)
  })
}

async function endTask(host: Host, machine: Machine, task: Process | undefined): Promise<void> {
  if (!task) return
  if (task.status !== TASK_STATUS.stopped) await ended(host, machine)
  const { tasks } = await host.containerd()
  await tasks.delete({ containerId: machine.containerId }, { vmId: machine.id }).catch(gone)
}

function gone(error: unknown): void {
  if (!hasCode(error, 'NOT_FOUND')) throw error
}
