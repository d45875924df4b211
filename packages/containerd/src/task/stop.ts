import { constants } from 'node:os'
import { type CallContext, invalidConfig, limitOf, type StopOptions, VMKitError } from '@vmkit/core/driver'
import { withLock, writeJson } from '@vmkit/core/state-folder'
import { TASK_STATUS } from '../grpc/enums.js'
import { hasCode } from '../grpc/errors.js'
import type { Process } from '../grpc/generated/task_types_pb.js'
import { findMachine, type Host, type Machine, taskOf, unaborted } from '../host.js'
import { statusOf } from '../inspect.js'
import { releaseNetworks } from '../net/connect.js'
import { disarm } from '../restart.js'

/** Signal, grace, SIGKILL. The task stays, stopped: it is what remembers the exit. */
export async function stop(host: Host, id: string, options: StopOptions, ctx: CallContext): Promise<void> {
  try {
    await stopTask(host, await findMachine(host, id, ctx), options, ctx)
  } catch (error) {
    // Somebody else ends it, or takes it away, at the same time: a shim that goes answers with whatever it can.
    if (!hasCode(error, 'BACKEND_ERROR')) throw error
    const task = await taskOf(host, (await findMachine(host, id, ctx)).containerId, ctx, id)
    if (task && task.status !== TASK_STATUS.stopped) throw error
  }
}

async function stopTask(host: Host, machine: Machine, { graceMs, signal }: StopOptions, ctx: CallContext): Promise<void> {
  const { id } = machine
  // Behind a start that is on its way; not held while it ends, so that a kill or a delete need not wait for the grace.
  const lock = { id, folder: machine.folder.path }
  const task = await withLock(lock, 'stop', ctx.signal, async () => {
    await disarm(host, machine)
    return taskOf(host, machine.containerId, ctx, id)
  })
  if (task?.status === TASK_STATUS.running || task?.status === TASK_STATUS.paused || task?.status === TASK_STATUS.pausing) {
    const gentle = signal ?? machine.record.stopSignal ?? 'SIGTERM'
    if (graceMs > 0) {
      await signalTask(host, machine, gentle, ctx)
      // A signal that comes before the thaw is delivered with it.
      if (task.status !== TASK_STATUS.running) await thaw(host, machine)
      await exitWithin(host, machine, graceMs, ctx)
    }
    await ended(host, machine, ctx.signal)
  }
  await withLock(lock, 'stop', ctx.signal, () => releaseNetworks(host, machine))
}

/** Whether it ended in time. */
async function exitWithin(host: Host, { id, containerId }: Machine, graceMs: number, { signal }: CallContext): Promise<boolean> {
  using limit = limitOf(signal, graceMs)
  const containerd = await host.containerd()
  try {
    await containerd.tasks.wait({ containerId }, { signal: limit.signal, vmId: id })
    return true
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return true
    if (limit.isOver()) return false
    throw error
  }
}

/** Kills every process of the task, and resolves when it is over. Harmless when there is no task. */
export async function ended(host: Host, machine: Machine, signal?: AbortSignal): Promise<void> {
  const { id, containerId } = machine
  const containerd = await host.containerd()
  try {
    await containerd.tasks.kill({ containerId, signal: constants.signals.SIGKILL, all: !host.variation.sandboxed }, { vmId: id })
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND', 'INVALID_STATE')) throw error
  }
  const task = await taskOf(host, containerId, unaborted(), id)
  // One whose saved memory the runtime refused never had a process: nothing would ever tell that it ended.
  if (!task || task.status === TASK_STATUS.stopped || task.pid === 0) return
  if (task.status === TASK_STATUS.paused || task.status === TASK_STATUS.pausing) await thaw(host, machine)
  await containerd.tasks.wait({ containerId }, { signal, vmId: id }).catch((error: unknown) => {
    if (!hasCode(error, 'NOT_FOUND')) throw error
  })
}

async function thaw(host: Host, { id, containerId }: Machine): Promise<void> {
  const containerd = await host.containerd()
  await containerd.tasks.resume({ containerId }, { vmId: id }).catch((error: unknown) => {
    // It ended, or somebody else thawed it.
    if (!hasCode(error, 'NOT_FOUND', 'INVALID_STATE')) throw error
  })
}

/** Takes a task away that does not run any more, or never did, and keeps how it ended. */
export async function discardTask(host: Host, machine: Machine, task: Process): Promise<void> {
  const { exit } = task.status === TASK_STATUS.stopped ? statusOf(machine, task) : {}
  if (exit) writeJson(machine.folder.exit, exit)
  if (task.status !== TASK_STATUS.stopped) await ended(host, machine)
  const containerd = await host.containerd()
  await containerd.tasks.delete({ containerId: machine.containerId }, { vmId: machine.id }).catch((error: unknown) => {
    if (!hasCode(error, 'NOT_FOUND')) throw error
  })
}

/** Sends one signal to the main process. @throws VMKitError `INVALID_CONFIG`, `INVALID_STATE` */
export async function kill(host: Host, id: string, signal: string, ctx: CallContext): Promise<void> {
  await signalTask(host, await findMachine(host, id, ctx), signal, ctx, true)
}

async function signalTask(host: Host, { id, containerId }: Machine, name: string, ctx: CallContext, strict = false): Promise<void> {
  const signal = signalNumber(name, host.driver)
  const containerd = await host.containerd()
  try {
    await containerd.tasks.kill({ containerId, signal }, { signal: ctx.signal, vmId: id })
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND', 'INVALID_STATE')) throw error
    if (strict) throw new VMKitError('INVALID_STATE', 'The machine does not run', { driver: host.driver, vmId: id, cause: error })
  }
}

/** signal(7): the first of the realtime signals that programs may use, as glibc and musl count. */
const FIRST_REALTIME = 34

export function signalNumber(name: string, driver: string): number {
  const realtime = /^SIGRTMIN(?:\+(\d{1,2}))?$/.exec(name)
  if (realtime && Number(realtime[1] ?? 0) <= 30) return FIRST_REALTIME + Number(realtime[1] ?? 0)
  const number = Object.hasOwn(constants.signals, name) ? constants.signals[name as NodeJS.Signals] : undefined
  if (number === undefined) throw invalidConfig('signal', 'a signal of this system', name, { driver })
  return number
}
