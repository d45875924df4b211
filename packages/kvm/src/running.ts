/** What is done to a machine that runs: kill, pause, resume, reset; and waiting for its end. */
import { type CallContext, limitOf, type VMExit, VMKitError } from '@vmkit/core/driver'
import { signalProcess, untilChange } from '@vmkit/core/state-folder'
import { channelDevice, FIRST_EXEC_PORT } from './boot/channels.js'
import { powerDown } from './boot/power-down.js'
import { signalMain } from './boot/signal-main.js'
import { DRIVER, invalidState } from './errors.js'
import type { Host } from './host.js'
import { command, quit } from './qmp/command.js'
import { readEventLog, resetsOf } from './state/event-log.js'
import { withLock } from './state/lock.js'
import { isCutOff, isRunAlive, markKilled, statusOf } from './state/run.js'
import { forgetSaving } from './state/saving.js'
import type { Machine } from './state/store.js'

/** What no file tells, such as a killed QEMU, is seen this late. */
const POLL_MS = 100
/** A guest that boots on a busy host under TCG needs seconds. */
const UP_MS = 60_000

/** SIGKILL ends the machine at once. Any other signal is for the main process of an image, where there is one. */
export async function kill(machine: Machine, name: string, ctx: CallContext): Promise<void> {
  const { run, state } = statusOf(machine.folder)
  if (!run || !isRunAlive(run)) throw invalidState(machine.id, 'kill', state)
  if (name === 'SIGKILL') {
    markKilled(machine.folder, run)
    using limit = limitOf(ctx.signal, 500)
    await quit(machine, limit.signal).catch(() => {
      if (run.qemu) signalProcess(run.qemu, 'SIGKILL')
    })
    return
  }
  if (machine.boot.reportsExit) return signalMain(machine, name, ctx.signal)
  if (name === 'SIGTERM') return powerDown(machine, ctx.signal)
  throw new VMKitError('UNSUPPORTED', `A virtual machine takes SIGKILL (off at once) and SIGTERM (power button), not ${name}`, {
    driver: DRIVER,
    operation: 'kill',
    vmId: machine.id,
    field: 'signal',
  })
}

export async function pause(machine: Machine, verb: 'pause' | 'resume', ctx: CallContext): Promise<void> {
  const [target, source] = verb === 'pause' ? (['paused', 'running'] as const) : (['running', 'paused'] as const)
  const { folder } = machine
  await withLock(machine, verb, ctx.signal, async (signal) => {
    let status = statusOf(folder)
    if (isCutOff(folder, status)) {
      await (await import('./snapshots/cut-off.js')).goOn(machine, signal)
      status = statusOf(folder)
    }
    // A pause that is asked for is nobody's to end.
    forgetSaving(folder)
    const { state } = status
    if (state === target) return
    if (state !== source) throw invalidState(machine.id, verb, state)
    await command(machine, signal, (qmp) => qmp.execute(verb === 'pause' ? 'stop' : 'cont'))
    // The answer may come before the event is in the log, by which everybody knows the state.
    await untilChange(folder.path, signal, POLL_MS, () => (statusOf(folder).state === source ? undefined : true))
  })
}

/**
 * The reset button: the guest starts again at its first instruction, and what it had in memory is gone. QEMU, its run and its ports
 * stay. Resolves at the reset; for the vmkit guest when it is up again.
 * @throws VMKitError `INVALID_STATE` unless it runs; `GUEST_ERROR` when the vmkit guest does not come up
 */
export async function reset(machine: Machine, ctx: Pick<CallContext, 'signal'>): Promise<void> {
  await withLock(machine, 'reset', ctx.signal, async (signal) => {
    const { state } = statusOf(machine.folder)
    if (state !== 'running') throw invalidState(machine.id, 'reset', state)
    const before = resetsOf(machine.folder)
    await command(machine, signal, async (qmp) => {
      // A guest that ends when it resets itself would end by this, too; and the BIOS resets once more, to find itself whole.
      if (machine.boot.noReboot) await qmp.execute('set-action', { reboot: 'reset' })
      try {
        await qmp.execute('system_reset')
        await untilReset(machine, before, signal)
      } finally {
        if (machine.boot.noReboot) await qmp.execute('set-action', { reboot: 'shutdown' })
      }
    })
  })
}

async function untilReset(machine: Machine, before: number, signal: AbortSignal): Promise<void> {
  const device = channelDevice(machine.boot, FIRST_EXEC_PORT)
  using limit = limitOf(signal, UP_MS)
  try {
    await untilChange(machine.folder.path, limit.signal, POLL_MS, () => {
      const events = readEventLog(machine.folder.events)
      const last = events.map(({ event }) => event).lastIndexOf('RESET')
      if (resetsOf(machine.folder) === before) return undefined
      const isUp = events.slice(last).some(({ event, data }) => event === 'VSERPORT_CHANGE' && data.id === device && data.open === true)
      return device === undefined || isUp ? true : undefined
    })
  } catch (error) {
    if (!limit.isOver()) throw error
    throw new VMKitError('GUEST_ERROR', `The guest did not come up within ${UP_MS / 1000} s of its reset`, {
      driver: DRIVER,
      vmId: machine.id,
    })
  }
}

/** The end of the run that goes on, of the last one, or of the next. */
export async function wait(host: Host, machine: Machine, ctx: CallContext): Promise<VMExit> {
  return untilChange(machine.folder.path, ctx.signal, POLL_MS, () => {
    // A machine that was deleted is NOT_FOUND for those who wait.
    host.store.get(machine.id)
    const { state, exit } = statusOf(machine.folder)
    return state === 'stopped' || state === 'failed' ? exit : undefined
  })
}
