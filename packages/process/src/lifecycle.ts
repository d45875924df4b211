/** Start, stop, kill and wait: what happens to the processes of one machine. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { invalidConfig, type StopOptions, VMKitError, type VMExit } from '@vmkit/core/driver'
import { findProgram } from './command.js'
import { envScript, machineEnv } from './env.js'
import { DRIVER, invalidState, systemError } from './errors.js'
import type { Host } from './host.js'
import { bootId } from './identity.js'
import { withLock } from './lock.js'
import { isAlive, signalProcess } from './proc.js'
import { exitOf, isRunAlive, type Run, readMain, readSnapshot, statusOf } from './run.js'
import type { Machine } from './store.js'
import { installSupervisor } from './supervisor.js'
import { killAll, MARKER, membersOf, sweep } from './tree.js'
import { untilChange } from './watch.js'

// What no file tells, such as a killed supervisor, is seen this late.
const POLL_MS = 250
/** How long a supervisor has to write the exit after its main process ended. */
const EXIT_WRITE_MS = 5000

const PER_RUN = /^(?:supervisor|main|exit|message|env|paused|swept)\.(\d+)$/

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

export function workdirOf(machine: Machine): string {
  return machine.config.workdir ?? join(machine.folder, 'root')
}

export function environmentOf(machine: Machine): Record<string, string> {
  return { ...machineEnv(machine.config.env), [MARKER]: machine.id }
}

async function launch(host: Host, machine: Machine, number: number, signal: AbortSignal): Promise<void> {
  const workdir = workdirOf(machine)
  checkWorkdir(workdir)
  const env = environmentOf(machine)
  const [name = '', ...args] = [...(machine.config.command ?? []), ...(machine.config.args ?? [])]
  const program = findProgram(name, { path: env.PATH ?? '', workdir, operation: 'start', field: 'config.command.0' })
  const { script, rest } = envScript(env)
  removeRuns(machine, (old) => old < number - 1 || old === number)
  writeFileSync(join(machine.folder, `env.${number}`), script, { mode: 0o600 })
  const command = rest.length > 0 ? [tool(host, 'env'), ...rest, program, ...args] : [program, ...args]
  const supervisor = spawn(
    host.options.shell,
    [
      installSupervisor(host.options.stateDir),
      machine.folder,
      String(number),
      bootId(),
      String(host.options.logBytes),
      '/dev/null',
      '',
      tool(host, 'setsid'),
      host.tool('fallocate') ?? '',
      ...command,
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

function tool(host: Host, name: 'env' | 'setsid'): string {
  const path = host.tool(name)
  if (path === undefined) throw new VMKitError('BACKEND_UNAVAILABLE', `This host has no \`${name}\``, { driver: DRIVER })
  return path
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
  return untilChange(machine.folder, 'main.', watched, POLL_MS, hasMain).catch((error: unknown) => {
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
    const { signal: name = machine.config.stop.signal, graceMs = machine.config.stop.graceMs } = options
    if (run.main && isAlive(run.main) && graceMs > 0) {
      signalProcess(run.main, signalNumber(name))
      // A stopped process takes no signal but SIGKILL.
      if (run.paused) thaw(machine, run)
      const graceEnd = AbortSignal.timeout(Math.min(graceMs, 2 ** 31 - 1))
      await untilChange(machine.folder, 'exit.', AbortSignal.any([signal, graceEnd]), 20, () => (run.main && isAlive(run.main) ? undefined : true)).catch(() => {})
      signal.throwIfAborted()
    }
    await end(machine, run, signal)
  })
}

/** Kills what lives, waits until the exit is written, and leaves no process. */
export async function end(machine: Machine, run: Run, signal: AbortSignal): Promise<void> {
  if (!run.earlierBoot) await killAll(() => membersOf(machine, run), signal)
  const ended = await untilEnded(machine, AbortSignal.any([signal, AbortSignal.timeout(EXIT_WRITE_MS)]))
  await sweep(machine, ended.run, signal)
}

interface Ended {
  run: Run
  exit: VMExit
}

/** The end of the run that goes on, or of the next one. */
function untilEnded(machine: Machine, signal: AbortSignal): Promise<Ended> {
  return untilChange(machine.folder, 'exit.', signal, POLL_MS, () => {
    const { run } = readSnapshot(machine)
    const exit = run && exitOf(run, () => readSnapshot(machine).run)
    return exit && { run, exit }
  })
}

export function kill(machine: Machine, name: string): void {
  const { run, state } = statusOf(machine)
  const number = signalNumber(name)
  if (!run?.main || (state !== 'running' && state !== 'paused' && state !== 'stopping')) throw invalidState(machine.id, 'kill', state)
  signalProcess(run.main, number)
}

/** @throws VMKitError `INVALID_CONFIG` for a signal this system does not have */
export function signalNumber(name: string): number {
  const realtime = /^SIGRTMIN(?:\+(\d+))?$/.exec(name)
  if (realtime && Number(realtime[1] ?? 0) <= 30) return 34 + Number(realtime[1] ?? 0)
  const number = Object.hasOwn(constants.signals, name) ? constants.signals[name as NodeJS.Signals] : undefined
  if (number === undefined) throw invalidConfig('signal', 'a signal of this system', name, { driver: DRIVER })
  return number
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
    await host.store.remove(machine)
  })
}


/** Stops every process of the tree, again until no new one turns up; then it is paused for all to see. */
export async function pause(machine: Machine, signal: AbortSignal): Promise<void> {
  await withLock(machine, 'pause', signal, async () => {
    const { run, state } = statusOf(machine)
    if (state === 'paused') return
    if (!run || state !== 'running') throw invalidState(machine.id, 'pause', state)
    const stopped = new Set<string>()
    for (;;) {
      const moving = membersOf(machine, run).filter((member) => !stopped.has(`${member.pid}.${member.start}`))
      if (moving.length === 0) break
      for (const member of moving) {
        signalProcess(member, 'SIGSTOP')
        stopped.add(`${member.pid}.${member.start}`)
      }
    }
    if (!isRunAlive(run)) throw invalidState(machine.id, 'pause', 'stopped')
    writeFileSync(join(machine.folder, `paused.${run.number}`), '')
  })
}

export async function resume(machine: Machine, signal: AbortSignal): Promise<void> {
  await withLock(machine, 'resume', signal, async () => {
    const { run, state } = statusOf(machine)
    if (state === 'running') return
    if (!run || state !== 'paused') throw invalidState(machine.id, 'resume', state)
    thaw(machine, run)
  })
}

function thaw(machine: Machine, run: Run): void {
  for (const member of membersOf(machine, run)) signalProcess(member, 'SIGCONT')
  rmSync(join(machine.folder, `paused.${run.number}`), { force: true })
}
