/** The root file system of a machine as a folder of this host: that of its process, or its snapshot, mounted while it is used. */
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs'
import { type CallContext, VMKitError } from '@vmkit/core/driver'
import { TASK_STATUS } from '../grpc/enums.js'
import { type Host, type Machine, taskOf } from '../host.js'
import { type Mount, rootfsMounts } from '../snapshots/rootfs.js'
import type { MachineFolder } from '../state-dir.js'
import { runChecked, runTool } from '../tool.js'

/** How many in this program use the mount of a machine, by its mount point. */
const users = new Map<string, { count: number; ready: Promise<void> }>()

/** Runs `use` with the folder, which is gone afterwards. */
export async function* withRootfs<T>(
  host: Host,
  machine: Machine,
  ctx: CallContext,
  use: (root: string) => AsyncIterable<T>,
): AsyncGenerator<T> {
  const task = await taskOf(host, machine.containerId, ctx, machine.id)
  const isActive = task?.status === TASK_STATUS.running || task?.status === TASK_STATUS.paused
  if (isActive && host.variation.sandboxed)
    throw new VMKitError('INVALID_STATE', 'The root file system of a sandbox that runs is in use by its guest', { vmId: machine.id })
  if (isActive) {
    yield* use(`/proc/${task.pid}/root`)
    return
  }
  const containerd = await host.containerd()
  const { snapshotter, snapshotKey: key } = machine.container
  const mounts = await rootfsMounts(containerd, { snapshotter, key }, { signal: ctx.signal, vmId: machine.id })
  yield* withMounts(machine.folder.rootfs, mounts, use)
}

/** Mounts once for all who use it at a time: an overlay must not have its upper folder mounted twice. */
export async function* withMounts<T>(target: string, mounts: readonly Mount[], use: (root: string) => AsyncIterable<T>): AsyncGenerator<T> {
  const user = users.get(target) ?? { count: 0, ready: mountAll(target, mounts) }
  user.count += 1
  users.set(target, user)
  try {
    await user.ready
    yield* use(target)
  } finally {
    user.count -= 1
    if (user.count === 0) {
      users.delete(target)
      await unmount(target)
    }
  }
}

async function mountAll(target: string, mounts: readonly Mount[]): Promise<void> {
  await unmount(target)
  mkdirSync(target, { recursive: true, mode: 0o700 })
  for (const { type, source, options } of mounts) {
    const bind = type === 'bind' ? ['--bind'] : ['-t', type]
    const rest = options.filter((option) => option !== 'rbind' && option !== 'bind')
    await runChecked('mount', [...bind, ...(rest.length > 0 ? ['-o', rest.join(',')] : []), '--', source || type, target])
  }
}

/** Also what a program that was killed has left. */
async function unmount(target: string): Promise<void> {
  if (!existsSync(target)) return
  while (isMounted(target)) {
    const { code } = await runTool('umount', ['--', target])
    // Another program that found the same may be quicker.
    if (code !== 0 && isMounted(target)) await runChecked('umount', ['--lazy', '--', target]).catch(unless(() => !isMounted(target)))
  }
  try {
    rmdirSync(target)
  } catch (error) {
    unless(() => !existsSync(target))(error)
  }
}

const unless = (isDone: () => boolean) => (error: unknown) => {
  if (!isDone()) throw error
}

function isMounted(target: string): boolean {
  // proc(5): the fifth field is the mount point, with blanks as \040.
  const escaped = target.replaceAll(' ', '\\040')
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[4] === escaped)
}

export async function unmountFolder(folder: Pick<MachineFolder, 'rootfs'>): Promise<void> {
  await unmount(folder.rootfs)
}
