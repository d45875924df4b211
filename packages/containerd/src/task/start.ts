import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CallContext, VMKitError } from '@vmkit/core/driver'
import type { Descriptor } from '@vmkit/oci'
import { CLEANUP_MS } from '../cleanup.js'
import { TASK_STATUS } from '../grpc/enums.js'
import { hasCode } from '../grpc/errors.js'
import type { Process } from '../grpc/generated/task_types_pb.js'
import { type Host, lockMachine, type Machine, taskOf, unaborted } from '../host.js'
import { connectNetworks, releaseNetworks } from '../net/connect.js'
import { arm, disarm } from '../restart.js'
import { runtimeOptions } from '../runtime.js'
import { rootfsMounts } from '../snapshots/rootfs.js'
import { discardTask, ended } from './stop.js'
import { prepareStreams } from './streams.js'

/** A start that is aborted, or fails, leaves nothing running, and the machine as it was. */
export async function start(host: Host, id: string, ctx: CallContext): Promise<void> {
  await lockMachine(host, id, 'start', ctx, async (machine, task) => {
    if (task?.status === TASK_STATUS.running) return
    if (task?.status === TASK_STATUS.paused || task?.status === TASK_STATUS.pausing)
      throw new VMKitError('INVALID_STATE', 'The machine is paused', { driver: host.driver, vmId: id })
    host.logKeeper.begin()
    await startTask(host, machine, task, ctx)
  })
}

/**
 * Under the machine's lock. `task` is what is there of an earlier run, or of a start that was cut off; with a `checkpoint`, a saved
 * memory in the content store, it goes on from there.
 */
export async function startTask(
  host: Host,
  machine: Machine,
  task: Process | undefined,
  ctx: CallContext,
  checkpoint?: Descriptor,
): Promise<void> {
  const { id, containerId, container, folder, record } = machine
  const containerd = await host.containerd()
  const hadStarted = existsSync(join(folder.path, 'started'))
  await disarm(host, machine)
  if (task) await discardTask(host, machine, task)
  await releaseNetworks(host, machine)
  try {
    await connectNetworks(host, machine, ctx)
    const { snapshotter, snapshotKey: key } = container
    const [rootfs, streams] = await Promise.all([
      rootfsMounts(containerd, { snapshotter, key }, { signal: ctx.signal, vmId: id }),
      prepareStreams(host, machine),
    ])
    ctx.signal.throwIfAborted()
    writeStarted(machine)
    // The daemon goes on with a call whose client has left: it is awaited, and what it made is removed.
    await containerd.tasks.create(
      {
        containerId,
        rootfs,
        ...streams,
        terminal: record.config.tty,
        options: runtimeOptions(host, containerd),
        ...(checkpoint ? { checkpoint: { ...checkpoint, annotations: {}, size: BigInt(checkpoint.size) } } : {}),
      },
      { vmId: id },
    )
    ctx.signal.throwIfAborted()
    await containerd.tasks.start({ containerId }, { vmId: id })
    ctx.signal.throwIfAborted()
    writeStarted(machine)
    await arm(host, machine)
  } catch (error) {
    await undoStart(host, machine, hadStarted)
    throw isAboutProgram(error) && record.config.command ? error.with({ field: 'config.command.0' }) : error
  }
}

/** In runc's words. */
function isAboutProgram(error: unknown): error is VMKitError {
  return hasCode(error, 'INVALID_CONFIG') && /executable file not found|exec: /i.test(error.message)
}

function writeStarted({ folder }: Machine): void {
  writeFileSync(join(folder.path, 'started'), String(Date.now()), { mode: 0o600 })
}

async function undoStart(host: Host, machine: Machine, hadStarted: boolean): Promise<void> {
  try {
    const task = await taskOf(host, machine.containerId, unaborted())
    if (task) {
      await ended(host, machine)
      await (await host.containerd()).tasks.delete({ containerId: machine.containerId }, { timeoutMs: CLEANUP_MS })
    }
  } catch (error) {
    // A daemon that is gone keeps what it has: the next start, or delete, discards it.
    if (!hasCode(error, 'BACKEND_UNAVAILABLE', 'NOT_FOUND', 'TIMEOUT')) throw error
  } finally {
    await releaseNetworks(host, machine)
    if (!hadStarted) rmSync(join(machine.folder.path, 'started'), { force: true })
  }
}
