/** Start, stop, kill, pause, delete and wait: what happens to the QEMU of one machine. */

import { rmSync } from 'node:fs'
import { type CallContext, type StopOptions, type VMExit, VMKitError, type VMStatus } from '@vmkit/core/driver'
import { type Identity, ownIdentity, signalProcess, untilChange } from '@vmkit/core/state-folder'
import { powerDown } from './boot/power-down.js'
import { signalMain } from './boot/signal-main.js'
import { abortReason, DRIVER, invalidState, systemError } from './errors.js'
import type { Host } from './host.js'
import { machineOptions } from './machine-options.js'
import { resolvePorts } from './net/ports.js'
import { launch } from './qemu/launch.js'
import type { MachineSpec } from './qemu/machine-spec.js'
import type { Qmp } from './qmp/client.js'
import { command } from './qmp/command.js'
import { setPassword } from './screen.js'
import { specOf } from './spec.js'
import { readEventLog } from './state/event-log.js'
import { record } from './state/journal.js'
import { withLock } from './state/lock.js'
import { processesWithArgument } from './state/proc.js'
import { clearKilled, forgetRun, isCutOff, isRunAlive, markKilled, type Run, statusOf, writeRun } from './state/run.js'
import { forgetSaving } from './state/saving.js'
import type { Machine } from './state/store.js'

/** What no file tells, such as a killed QEMU, is seen this late. */
const POLL_MS = 100
/** How long QEMU has to end by `quit` before it is killed: it writes out its disks. */
const QUIT_MS = 5000
/** How long a killed QEMU may take to be gone. */
const KILLED_MS = 10_000
const FIRST_EXEC_PORT = 'vmkit.exec.0'

export async function start(host: Host, machine: Machine, ctx: CallContext): Promise<void> {
  await withLock(machine, 'start', ctx.signal, async (signal) => {
    const { state, run: previous, ...rest } = statusOf(machine.folder)
    if (state === 'running') return
    if (state === 'paused' || state === 'stopping') throw invalidState(machine.id, 'start', state)
    const current = host.store.get(machine.id)
    const { run, qmp } = await launchRun(host, current, (spec) => spec, signal)
    await qmp.close()
    try {
      if (current.config.ports.length > 0) await untilReachable(current, run, signal)
    } catch {
      await undoRun(current, run, previous, { state, ...rest })
      throw abortReason(signal)
    }
  })
}

/**
 * The user-mode network takes connections as soon as QEMU is there, whether the guest has one or not; they would end in a void. The
 * vmkit guest opens its first port for programs once its network is up and its main process started.
 */
async function untilReachable(machine: Machine, run: Run, signal: AbortSignal): Promise<void> {
  const channel = machine.boot.channels.findIndex(({ name }) => name === FIRST_EXEC_PORT)
  if (channel < 0) return
  const device = `channel${channel}-device`
  await untilChange(machine.folder.path, signal, POLL_MS, () => {
    const isOpen = readEventLog(machine.folder.events).some(
      ({ event, data }) => event === 'VSERPORT_CHANGE' && data.id === device && data.open === true,
    )
    return isOpen || !isRunAlive(run) ? true : undefined
  })
}

/** The machine is as it was before the start. */
async function undoRun(machine: Machine, run: Run, previous: Run | undefined, before: VMStatus): Promise<void> {
  if (run.qemu) {
    signalProcess(run.qemu, 'SIGKILL')
    await untilGone(machine, run, KILLED_MS, new AbortController().signal)
  }
  forgetRun(machine.folder, previous, before)
}

/**
 * A new run, under the machine's lock. `adapt` changes the spec: another source of memory, an incoming machine.
 * After a failure the machine is as it was before.
 */
export async function launchRun(
  host: Host,
  machine: Machine,
  adapt: (spec: MachineSpec) => MachineSpec,
  signal: AbortSignal,
  /** Open files for QEMU, from `FIRST_INHERITED_FD` on. */
  inherited: readonly number[] = [],
): Promise<{ run: Run; qmp: Qmp }> {
  const { folder } = machine
  const binary = await host.qemu()
  const { accel, reason } = await host.accel(machineOptions(machine.config).accel, signal)
  const { run: previous, ...before } = statusOf(folder)
  if (previous) await endLeftOver(machine, previous)
  const spec = adapt(specOf(machine, accel))
  let run: Run = {
    number: (previous?.number ?? 0) + 1,
    launcher: ownIdentity(),
    ready: false,
    startedAt: Date.now(),
    ...(spec.paused ? { startsPaused: true } : {}),
    accel,
    memory: spec.memory.bytes,
    ports: [],
    details: { accelReason: reason, qemu: binary.version },
    before,
  }
  clearKilled(folder, previous)
  writeRun(folder, run)
  try {
    const keep = (qemu: Identity): void => {
      run = { ...run, qemu }
      writeRun(folder, run)
    }
    const { qmp } = await launch(binary, spec, folder, keep, signal, inherited)
    try {
      const vncPassword = await setPassword(qmp, machine)
      run = {
        ...run,
        ready: true,
        ports: await resolvePorts(qmp, machine.config.ports),
        ...(vncPassword === undefined ? {} : { vncPassword }),
      }
      writeRun(folder, run)
      record(host.options.stateDir, machine, { type: 'started', run: run.number })
      signal.throwIfAborted()
      return { run, qmp }
    } catch (error) {
      await qmp.close()
      throw error
    }
  } catch (error) {
    await undoRun(machine, run, previous, before)
    throw signal.aborted ? abortReason(signal) : systemError(error, { operation: 'start', vmId: machine.id })
  }
}

/** An app that died in the middle of a start may have left a QEMU that nobody wrote down. */
async function endLeftOver(machine: Machine, run: Run): Promise<void> {
  if (run.qemu !== undefined) return
  for (const qemu of processesWithArgument(machine.uuid)) signalProcess(qemu, 'SIGKILL')
}

export async function stop(host: Host, machine: Machine, options: StopOptions, ctx: CallContext): Promise<void> {
  await withLock(machine, 'stop', ctx.signal, async (signal) => {
    const { run, state } = statusOf(machine.folder)
    if (!run) return
    if (isRunAlive(run) && options.graceMs > 0 && options.signal !== 'SIGKILL' && state !== 'stopping') {
      await askToEnd(machine, run, options, signal)
    }
    await end(host, machine, run, signal)
  })
}

/** What the guest makes of it is its own affair: the grace decides. */
async function askToEnd(machine: Machine, run: Run, { graceMs, signal: name }: StopOptions, signal: AbortSignal): Promise<void> {
  const grace = AbortSignal.any([signal, AbortSignal.timeout(Math.min(graceMs, 2 ** 31 - 1))])
  const asking = (async () => {
    // A frozen guest hears nothing.
    if (statusOf(machine.folder).state === 'paused') await command(machine, grace, (qmp) => qmp.execute('cont'))
    if (machine.boot.reportsExit) await signalMain(machine, name, grace)
    else await powerDown(machine, grace)
  })()
  // A guest that cannot be asked is given its grace all the same: it may be on its way to hear.
  asking.catch(() => {})
  await untilChange(machine.folder.path, grace, POLL_MS, () => (isRunAlive(run) ? undefined : true)).catch(() => {})
  signal.throwIfAborted()
}

/** Quit, then SIGKILL. Nothing of it runs when this resolves. */
export async function end(host: Host, machine: Machine, run: Run, signal: AbortSignal): Promise<void> {
  const { folder } = machine
  const wasAlive = isRunAlive(run)
  if (wasAlive) {
    await command(machine, AbortSignal.any([signal, AbortSignal.timeout(QUIT_MS)]), (qmp) => qmp.execute('quit')).catch(() => {})
    signal.throwIfAborted()
    await untilGone(machine, run, QUIT_MS, signal)
    if (isRunAlive(run)) {
      markKilled(folder, run)
      if (run.qemu) signalProcess(run.qemu, 'SIGKILL')
      await untilGone(machine, run, KILLED_MS, signal)
    }
    if (isRunAlive(run))
      throw new VMKitError('BACKEND_ERROR', `QEMU (pid ${run.qemu?.pid}) does not end, even by SIGKILL`, {
        driver: DRIVER,
        vmId: machine.id,
      })
  } else {
    await endLeftOver(machine, run)
  }
  tellEnd(host, machine, run)
  for (const socket of [folder.qmp, folder.agent, folder.console, folder.main, folder.vnc]) rmSync(socket, { force: true })
}

function tellEnd(host: Host, machine: Machine, run: Run): void {
  const { exit } = statusOf(machine.folder)
  if (exit && run.ready) record(host.options.stateDir, machine, { type: 'stopped', run: run.number, exit })
}

async function untilGone(machine: Machine, run: Run, ms: number, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(ms)])
  await untilChange(machine.folder.path, limit, 5, () => (isRunAlive(run) ? undefined : true)).catch(() => {})
  signal.throwIfAborted()
}

/** SIGKILL ends the machine at once. Any other signal is for the main process of an image, where there is one. */
export async function kill(machine: Machine, name: string, ctx: CallContext): Promise<void> {
  const { run, state } = statusOf(machine.folder)
  if (!run || !isRunAlive(run)) throw invalidState(machine.id, 'kill', state)
  if (name === 'SIGKILL') {
    markKilled(machine.folder, run)
    await command(machine, AbortSignal.any([ctx.signal, AbortSignal.timeout(500)]), (qmp) => qmp.execute('quit')).catch(() => {
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

export async function remove(host: Host, machine: Machine, force: boolean, ctx: CallContext): Promise<void> {
  await withLock(machine, 'delete', ctx.signal, async (signal) => {
    const { run, state } = statusOf(machine.folder)
    if (run) {
      if (isRunAlive(run) && !force) throw invalidState(machine.id, 'delete', state)
      await end(host, machine, run, signal)
    }
    await host.store.remove(machine)
    record(host.options.stateDir, machine, { type: 'deleted' })
  })
}

export async function pause(machine: Machine, verb: 'pause' | 'resume', ctx: CallContext): Promise<void> {
  const [target, source] = verb === 'pause' ? (['paused', 'running'] as const) : (['running', 'paused'] as const)
  await withLock(machine, verb, ctx.signal, async (signal) => {
    if (isCutOff(machine.folder)) await (await import('./snapshots/cut-off.js')).goOn(machine, signal)
    // A pause that is asked for is nobody's to end.
    forgetSaving(machine.folder)
    const { state } = statusOf(machine.folder)
    if (state === target) return
    if (state !== source) throw invalidState(machine.id, verb, state)
    await command(machine, signal, (qmp) => qmp.execute(verb === 'pause' ? 'stop' : 'cont'))
    // The answer may come before the event is in the log, by which everybody knows the state.
    await untilChange(machine.folder.path, signal, POLL_MS, () => (statusOf(machine.folder).state === source ? undefined : true))
  })
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
