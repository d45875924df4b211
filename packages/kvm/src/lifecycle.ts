/** Start, stop and delete: the QEMU of one machine comes and goes. */

import { existsSync, rmSync } from 'node:fs'
import { type CallContext, limitOf, type StopOptions, VMKitError, type VMStatus } from '@vmkit/core/driver'
import { type Identity, isAlive, ownIdentity, signalProcess, untilChange } from '@vmkit/core/state-folder'
import { channelDevice, FIRST_EXEC_PORT } from './boot/channels.js'
import { powerDown } from './boot/power-down.js'
import { signalMain } from './boot/signal-main.js'
import { findControllers } from './cgroups/controllers.js'
import { makeGroup, moveInto, planGroup, removeGroup } from './cgroups/group.js'
import { abortReason, DRIVER, invalidState, systemError } from './errors.js'
import type { Host } from './host.js'
import { machineOptions } from './machine-options.js'
import { mountsOf } from './mounts.js'
import { connectTaps, releaseAddresses, untilTapsGone } from './net/attach.js'
import { forgetJoined, hasJoined, noteJoined, tellJoined, tellLeft } from './net/names.js'
import { resolvePorts } from './net/ports.js'
import { withStartInitrd } from './net/start-initrd.js'
import { launch } from './qemu/launch.js'
import type { MachineSpec } from './qemu/machine-spec.js'
import type { Qmp } from './qmp/client.js'
import { command, quit } from './qmp/command.js'
import { setPassword } from './screen.js'
import { endDaemons, endUnknownDaemons, startDaemons } from './shares/daemons.js'
import { hostLimitsOf, specOf } from './spec.js'
import { readEventLog } from './state/event-log.js'
import { record } from './state/journal.js'
import { withLock } from './state/lock.js'
import type { MachineFolder } from './state/machine-folder.js'
import { processesWithArgument } from './state/proc.js'
import { clearKilled, forgetRun, isRunAlive, markKilled, type Run, readRun, statusOf, writeRun } from './state/run.js'
import type { Machine } from './state/store.js'
import { ensureVolumes } from './volumes.js'

/** What no file tells, such as a killed QEMU, is seen this late. */
const POLL_MS = 100
/** How long QEMU has to end by `quit` before it is killed: it writes out its disks. */
const QUIT_MS = 5000
/** How long a killed QEMU may take to be gone, which is looked for so often. */
const KILLED_MS = 10_000
const GONE_POLL_MS = 5

export async function start(host: Host, machine: Machine, ctx: CallContext): Promise<void> {
  await withLock(machine, 'start', ctx.signal, async (signal) => {
    const { state, run: previous, ...rest } = statusOf(machine.folder)
    if (state === 'running') return
    if (state === 'paused' || state === 'stopping') throw invalidState(machine.id, 'start', state)
    const current = host.store.get(machine.id)
    const { run, qmp } = await launchRun(host, current, (spec) => spec, signal)
    await qmp.close()
    try {
      await connectTaps(host, current, signal)
      noteJoined(current)
      if (current.config.ports.length + current.config.networks.length > 0) await untilReachable(current, run, signal)
      await tellJoined(host, current, signal)
    } catch (error) {
      await undoRun(current, run, previous, { state, ...rest })
      await tellLeft(host, current, new AbortController().signal)
      throw signal.aborted ? abortReason(signal) : systemError(error, { operation: 'start', vmId: machine.id })
    }
  })
}

/** Goes on where an app was killed between starting a QEMU and joining its networks. */
export async function finishJoining(host: Host, machine: Machine, signal: AbortSignal): Promise<void> {
  await withLock(machine, 'join', signal, async (inner) => {
    if (!isJoiningCutOff(machine)) return
    await connectTaps(host, machine, inner)
    noteJoined(machine)
    await tellJoined(host, machine, inner)
  })
}

/** Whether it runs, and nobody will make it join. */
export function isJoiningCutOff(machine: Machine): boolean {
  if (!machine.attachments?.length || hasJoined(machine)) return false
  const { state, run } = statusOf(machine.folder)
  return state === 'running' && run !== undefined && !isAlive(run.launcher)
}

/**
 * The user-mode network takes connections as soon as QEMU is there, whether the guest has one or not; they would end in a void. The
 * vmkit guest opens its first port for programs once its network is up and its main process started.
 */
async function untilReachable(machine: Machine, run: Run, signal: AbortSignal): Promise<void> {
  const device = channelDevice(machine.boot, FIRST_EXEC_PORT)
  if (device === undefined) return
  await untilChange(machine.folder.path, signal, POLL_MS, () => {
    const isOpen = readEventLog(machine.folder.events).some(
      ({ event, data }) => event === 'VSERPORT_CHANGE' && data.id === device && data.open === true,
    )
    return isOpen || !isRunAlive(run) ? true : undefined
  })
}

/** The machine is as it was before the start. */
async function undoRun(machine: Machine, run: Run, previous: Run | undefined, before: VMStatus): Promise<void> {
  const { folder } = machine
  // For who looks meanwhile it still starts, and is then as it was: a QEMU that is killed when it was ready would be a failure.
  if (existsSync(folder.path)) writeRun(folder, { ...run, ready: false })
  await killRun(folder, run)
  await untilTapsGone(machine)
  forgetRun(folder, previous, before)
}

async function killRun(folder: MachineFolder, run: Run): Promise<void> {
  if (run.qemu) {
    signalProcess(run.qemu, 'SIGKILL')
    await untilGone(folder, run, KILLED_MS, new AbortController().signal)
  }
  await endDaemons(folder, run.daemons, true)
  if (run.group) await removeGroup(run.group)
}

/** Ends what runs of a machine that is not there yet, and will not be. */
export async function endUnseen(folder: MachineFolder): Promise<void> {
  const run = readRun(folder)
  if (run) await killRun(folder, run)
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
  await untilTapsGone(machine)
  ensureVolumes(host.store, machine.config)
  const spec = await withStartInitrd(host, machine, adapt(specOf(machine, accel)))
  const limits = hostLimitsOf(machine.config)
  const group = planGroup(machine.id, limits, findControllers())
  let run: Run = {
    number: (previous?.number ?? 0) + 1,
    launcher: ownIdentity(),
    ready: false,
    startedAt: Date.now(),
    ...(spec.paused ? { startsPaused: true } : {}),
    accel,
    memory: spec.memory.bytes,
    ...(group ? { group } : {}),
    ...(spec.memory.backend?.kind === 'file' && spec.memory.backend.share ? { isTemplate: true } : {}),
    ports: [],
    details: { accelReason: reason, qemu: binary.version },
    before,
  }
  forgetJoined(machine)
  // Before what tells how the last run ended goes.
  writeRun(folder, run)
  clearKilled(folder, previous)
  try {
    if (previous?.group) await removeGroup(previous.group)
    if (group) await makeGroup(group, limits)
    const keep = (qemu: Identity): void => {
      run = { ...run, qemu }
      writeRun(folder, run)
      if (group) moveInto(group, qemu.pid)
    }
    const serves = (daemon: Identity): void => {
      run = { ...run, daemons: [...(run.daemons ?? []), daemon] }
      writeRun(folder, run)
      if (group) moveInto(group, daemon.pid)
    }
    await startDaemons(folder, spec, serves, signal)
    const { qmp } = await launch(binary, spec, folder, keep, signal, inherited)
    // QEMU has read it.
    rmSync(folder.startInitrd, { force: true })
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
    rmSync(folder.startInitrd, { force: true })
    await undoRun(machine, run, previous, before)
    throw signal.aborted ? abortReason(signal) : systemError(error, { operation: 'start', vmId: machine.id })
  }
}

/** An app that died in the middle of a start may have left a QEMU that nobody wrote down. */
async function endLeftOver(machine: Machine, run: Run): Promise<void> {
  if (run.qemu !== undefined) return
  const left = processesWithArgument(machine.uuid)
  for (const qemu of left) signalProcess(qemu, 'SIGKILL')
  // The next one wants its disks, which are locked until then.
  using limit = limitOf(undefined, KILLED_MS)
  await untilChange(machine.folder.path, limit.signal, GONE_POLL_MS, () => (left.some(isAlive) ? undefined : true)).catch(() => {})
  await endUnknownDaemons(machine.folder, { shares: mountsOf(machine.config) })
  await endDaemons(machine.folder, run.daemons, true)
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
  using limit = limitOf(signal, graceMs)
  const grace = limit.signal
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
    using limit = limitOf(signal, QUIT_MS)
    await quit(machine, limit.signal).catch(() => {})
    signal.throwIfAborted()
    await untilGone(folder, run, QUIT_MS, signal)
    if (isRunAlive(run)) {
      markKilled(folder, run)
      if (run.qemu) signalProcess(run.qemu, 'SIGKILL')
      await untilGone(folder, run, KILLED_MS, signal)
    }
    if (isRunAlive(run))
      throw new VMKitError('BACKEND_ERROR', `QEMU (pid ${run.qemu?.pid}) does not end, even by SIGKILL`, {
        driver: DRIVER,
        vmId: machine.id,
      })
  } else {
    await endLeftOver(machine, run)
  }
  await untilTapsGone(machine)
  tellEnd(host, machine, run)
  await endDaemons(folder, run.daemons)
  if (run.group) await removeGroup(run.group)
  for (const path of [folder.qmp, folder.agent, folder.console, folder.main, folder.vnc, folder.memory]) rmSync(path, { force: true })
  await tellLeft(host, machine, signal)
}

function tellEnd(host: Host, machine: Machine, run: Run): void {
  const { exit } = statusOf(machine.folder)
  if (exit && run.ready) record(host.options.stateDir, machine, { type: 'stopped', run: run.number, exit })
}

async function untilGone(folder: MachineFolder, run: Run, ms: number, signal: AbortSignal): Promise<void> {
  using limit = limitOf(signal, ms)
  await untilChange(folder.path, limit.signal, GONE_POLL_MS, () => (isRunAlive(run) ? undefined : true)).catch(() => {})
  signal.throwIfAborted()
}

export async function remove(host: Host, machine: Machine, force: boolean, ctx: CallContext): Promise<void> {
  await withLock(machine, 'delete', ctx.signal, async (signal) => {
    const { run, state } = statusOf(machine.folder)
    if (run) {
      if (isRunAlive(run) && !force) throw invalidState(machine.id, 'delete', state)
      await end(host, machine, run, signal)
    }
    await host.store.remove(machine)
    releaseAddresses(host, machine)
    record(host.options.stateDir, machine, { type: 'deleted' })
  })
}
