/** Start, stop, kill and wait: what happens to the processes of one machine. */
import { type ChildProcess, spawn } from 'node:child_process'
import { chownSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { invalidConfig, limitOf, type StopOptions, type VMExit, VMKitError } from '@vmkit/core/driver'
import { bootId, isAlive, signalProcess, untilChange, withLock } from '@vmkit/core/state-folder'
import { DRIVER, invalidState, systemError } from './errors.js'
import { record } from './events.js'
import type { Host } from './host.js'
import { limitsOf, needsCgroup } from './limits.js'
import { cgroupFolders, cgroupOf, freezerOf, killCgroup, prepareCgroup, removeCgroup } from './machine-cgroup.js'
import { mainCommand, needTool, workdirOf } from './main-command.js'
import { checkPorts } from './ports.js'
import { EXIT_WRITE_MS, exitOf, isRunAlive, type Run, readMain, readSnapshot, statusOf } from './run.js'
import { signalNumber } from './signals.js'
import type { Machine } from './store.js'
import { installSupervisor } from './supervisor.js'
import { killAll, MARKER, membersOf, sweep } from './tree.js'

// What no file tells, such as a killed supervisor, is seen this late.
const POLL_MS = 250
/** How long processes have to stand still after SIGSTOP. */
const STOP_MS = 2000

const PER_RUN = /^(?:supervisor|main|exit|message|env|account|holder|paused|swept)\.(\d+)$/

export async function start(host: Host, machine: Machine, signal: AbortSignal): Promise<void> {
  await withLock(machine, 'start', signal, async () => {
    const { run } = readSnapshot(machine)
    if (run) {
      if (isRunAlive(run)) return
      await sweep(machine, run, signal)
    }
    await launch(host, machine, (run?.number ?? 0) + 1, signal)
  })
}

async function launch(host: Host, machine: Machine, number: number, signal: AbortSignal): Promise<void> {
  const { config, folder } = machine
  const workdir = workdirOf(machine)
  checkWorkdir(workdir)
  await checkPorts(config.ports)
  const plan = mainCommand(host, machine, number)
  removeRuns(machine, (old) => old < number - 1 || old === number)
  const environment = join(folder, `${plan.account ? 'account' : 'env'}.${number}`)
  writeFileSync(environment, plan.script, { mode: 0o600 })
  if (plan.account) chownSync(environment, plan.account.uid, plan.account.gid)
  const cgroup = needsCgroup(machine) ? prepareCgroup(machine, limitsOf(machine), host.cgroups()) : undefined
  const output = config.tty ? 'console' : 'stdout'
  const supervisor = spawn(
    host.options.shell,
    [
      installSupervisor(host.options.stateDir),
      folder,
      String(number),
      bootId(),
      String(host.options.logBytes),
      config.stdin ? join(folder, 'stdin') : '/dev/null',
      output,
      config.tty ? output : 'stderr',
      plan.records ? 'other' : 'self',
      cgroupFolders(cgroup).join(' '),
      needTool(host, 'setsid'),
      host.tool('fallocate') ?? '',
      ...plan.command,
    ],
    { cwd: workdir, env: { [MARKER]: machine.id, PATH: '/usr/bin:/bin' }, detached: true, stdio: 'ignore' },
  )
  supervisor.unref()
  try {
    await untilStarted(machine, number, supervisor, signal)
  } catch (error) {
    await abandon(machine, number, supervisor)
    throw systemError(error, { operation: 'start', vmId: machine.id })
  }
}

function checkWorkdir(workdir: string): void {
  try {
    if (statSync(workdir).isDirectory()) return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw systemError(error, { operation: 'start', field: 'config.workdir' })
  }
  throw invalidConfig('config.workdir', 'a folder that exists', workdir, { driver: DRIVER, operation: 'start' })
}

/** Resolves when main has its pid; rejects when the supervisor could not get so far. */
function untilStarted(machine: Machine, number: number, supervisor: ChildProcess, signal: AbortSignal): Promise<true> {
  let failure: unknown
  const ended = new AbortController()
  supervisor.once('error', (error) => {
    failure = error
    ended.abort(error)
  })
  supervisor.once('exit', () => ended.abort())
  const watched = AbortSignal.any([signal, ended.signal])
  const hasMain = (): true | undefined => (readMain(machine, number) ? true : undefined)
  return untilChange(machine.folder, watched, POLL_MS, hasMain, 'main.').catch((error: unknown) => {
    if (signal.aborted) throw error
    if (failure !== undefined) throw failure
    if (hasMain()) return true
    throw new VMKitError('BACKEND_ERROR', 'The supervisor ended before the machine had started', { driver: DRIVER, operation: 'start' })
  })
}

/** Undoes a start: the machine is as it was before. */
async function abandon(machine: Machine, number: number, supervisor: ChildProcess): Promise<void> {
  const { pid } = supervisor
  const unlimited = new AbortController().signal
  if (pid !== undefined && supervisor.exitCode === null && supervisor.signalCode === null) {
    // First the supervisor with its group, so that it cannot start main any more.
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // It has ended by itself.
    }
  }
  const { run } = readSnapshot(machine)
  if (run?.number === number) await killAll(() => membersOf(machine, run), unlimited)
  removeRuns(machine, (old) => old === number)
}

function removeRuns(machine: Machine, which: (number: number) => boolean): void {
  for (const name of readdirSync(machine.folder)) {
    const number = PER_RUN.exec(name)?.[1]
    if (number !== undefined && which(Number(number))) rmSync(join(machine.folder, name), { force: true })
  }
}

export async function stop(machine: Machine, options: StopOptions, signal: AbortSignal): Promise<void> {
  await withLock(machine, 'stop', signal, async () => {
    const { run } = readSnapshot(machine)
    if (!run) return
    const { signal: name = 'SIGTERM', graceMs } = options
    if (run.main && isAlive(run.main) && graceMs > 0) {
      signalProcess(run.main, signalNumber(name))
      // A stopped process takes no signal but SIGKILL.
      if (run.paused) await thaw(machine, run, signal)
      using limit = limitOf(signal, graceMs)
      const hasGone = (): true | undefined => (run.main && isAlive(run.main) ? undefined : true)
      await untilChange(machine.folder, limit.signal, 20, hasGone, 'exit.').catch(() => {})
      signal.throwIfAborted()
    }
    await end(machine, run, signal)
  })
}

/** Kills what lives, waits until the exit is written, and leaves no process. */
async function end(machine: Machine, run: Run, signal: AbortSignal): Promise<void> {
  // What has ended by itself is let tell how, before anything is killed.
  if (run.main && !isAlive(run.main)) {
    using limit = limitOf(signal, EXIT_WRITE_MS)
    await untilEnded(machine, limit.signal).catch(() => {})
  }
  signal.throwIfAborted()
  if (!run.earlierBoot) {
    const killing = killAll(
      () => membersOf(machine, run),
      signal,
      () => killGroups(machine),
    )
    // A frozen group dies of SIGKILL only once it is thawed.
    await freezerOf(cgroupOf(machine))?.(false, signal)
    await killing
  }
  using limit = limitOf(signal, EXIT_WRITE_MS)
  const ended = await untilEnded(machine, limit.signal)
  await sweep(machine, ended.run, signal)
}

function killGroups(machine: Machine): void {
  const cgroup = cgroupOf(machine)
  if (cgroup) killCgroup(cgroup)
}

interface Ended {
  run: Run
  exit: VMExit
}

/** The end of the run that goes on, or of the next one. */
function untilEnded(machine: Machine, signal: AbortSignal): Promise<Ended> {
  const look = (): Ended | undefined => {
    const { run } = readSnapshot(machine)
    const exit = run && exitOf(run, () => readSnapshot(machine).run)
    return exit && { run, exit }
  }
  return untilChange(machine.folder, signal, POLL_MS, look, 'exit.')
}

export function kill(machine: Machine, name: string): void {
  const { run, state } = statusOf(machine)
  const number = signalNumber(name)
  if (!run?.main || (state !== 'running' && state !== 'paused' && state !== 'stopping')) throw invalidState(machine.id, 'kill', state)
  signalProcess(run.main, number)
}

export async function wait(machine: Machine, signal: AbortSignal): Promise<VMExit> {
  const { run, exit } = await untilEnded(machine, signal)
  await sweep(machine, run, signal)
  return exit
}

export async function remove(host: Host, machine: Machine, force: boolean, signal: AbortSignal): Promise<void> {
  await withLock(machine, 'delete', signal, async () => {
    const { run } = readSnapshot(machine)
    if (run) {
      if (isRunAlive(run) && !force && !run.ended) throw invalidState(machine.id, 'delete', statusOf(machine).state)
      if (isRunAlive(run)) await end(machine, run, signal)
      else await sweep(machine, run, signal)
    }
    await removeCgroup(machine)
    await host.store.remove(machine)
    record(host.options.stateDir, 'deleted', machine.id)
  })
}

/** First everything stands still, then it is paused for all to see: a crash in between leaves a machine to pause again. */
export async function pause(host: Host, machine: Machine, signal: AbortSignal): Promise<void> {
  await withLock(machine, 'pause', signal, async () => {
    const { run, state } = statusOf(machine)
    if (state === 'paused') return
    if (!run || state !== 'running') throw invalidState(machine.id, 'pause', state)
    const freeze = freezerOf(cgroupOf(machine))
    if (freeze) await freeze(true, signal)
    else await stopTree(machine, run, signal)
    if (!isRunAlive(run)) throw invalidState(machine.id, 'pause', 'stopped')
    writeFileSync(join(machine.folder, `paused.${run.number}`), '')
    record(host.options.stateDir, 'paused', machine.id)
  })
}

export async function resume(host: Host, machine: Machine, signal: AbortSignal): Promise<void> {
  await withLock(machine, 'resume', signal, async () => {
    const { run, state } = statusOf(machine)
    if (state === 'running') return
    if (!run || state !== 'paused') throw invalidState(machine.id, 'resume', state)
    await thaw(machine, run, signal)
    record(host.options.stateDir, 'resumed', machine.id)
  })
}

/**
 * Again until no new one turns up: a process may have forked before its turn came. And until none goes on: one takes the signal
 * when its turn on a processor comes, and ends a write before. What waits in the kernel for longer is not waited for.
 */
async function stopTree(machine: Machine, run: Run, signal: AbortSignal): Promise<void> {
  const told = new Set<string>()
  using limit = limitOf(signal, STOP_MS)
  for (;;) {
    const members = membersOf(machine, run)
    const moving = members.filter(({ pid, start }) => !told.has(`${pid}.${start}`))
    for (const member of moving) {
      signalProcess(member, 'SIGSTOP')
      told.add(`${member.pid}.${member.start}`)
    }
    if (moving.length > 0) continue
    if (limit.signal.aborted || !members.some(({ state }) => state === 'R' || state === 'S')) return
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

async function thaw(machine: Machine, run: Run, signal: AbortSignal): Promise<void> {
  const freeze = freezerOf(cgroupOf(machine))
  if (freeze) await freeze(false, signal)
  else for (const member of membersOf(machine, run)) signalProcess(member, 'SIGCONT')
  rmSync(join(machine.folder, `paused.${run.number}`), { force: true })
}
