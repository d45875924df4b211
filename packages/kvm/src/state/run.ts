/** The last run of a machine, and what its files tell of it: no call to QEMU is needed to know a state. */
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import type { PublishedPort, VMExit, VMState, VMStatus } from '@vmkit/core/driver'
import { type Identity, isAlive, readJson, writeJson } from '@vmkit/core/state-folder'
import { type Group, ranOutOfMemory } from '../cgroups/group.js'
import type { Accelerator } from '../qemu/machine-spec.js'
import { type LoggedEvent, readEventLog } from './event-log.js'
import type { MachineFolder } from './machine-folder.js'
import { isSavingCutOff } from './saving.js'

export interface Run {
  /** Counts the starts of the machine, from 1. */
  number: number
  /** The app that starts it. */
  launcher: Identity
  /** Absent until QEMU is there. */
  qemu?: Identity
  /** It came from elsewhere, and stands still until it is told to go on. */
  startsPaused?: boolean
  /** QEMU has answered. */
  ready: boolean
  startedAt: number
  accel: Accelerator
  /** Bytes it was started with: the most that a balloon can give back. */
  memory?: number
  /** By which the host limits its QEMU. */
  group?: Group
  /** Those that serve it folders by virtiofs. */
  daemons?: Identity[]
  /** Its memory is the file of a template; absent where it maps another's. */
  isTemplate?: boolean
  /** Of the screen, where one is asked for. */
  vncPassword?: string
  ports: PublishedPort[]
  /** Tap and bridge names, TLS, or whatever else a run decided; for people. */
  details?: Record<string, unknown>
  /** How the machine was before this start, in case nothing comes of it. */
  before: VMStatus
  /** How it ended, where the files that told it were overwritten by a later start that came to nothing. */
  ended?: VMStatus
}

export interface RunStatus extends VMStatus {
  /** Absent while it never ran. */
  run?: Run
}

export function readRun(folder: MachineFolder): Run | undefined {
  return readJson<Run>(folder.run)
}

export function writeRun(folder: MachineFolder, run: Run): void {
  writeJson(folder.run, run)
}

/** The start came to nothing: the machine is as it was. */
export function forgetRun(folder: MachineFolder, previous: Run | undefined, before?: VMStatus): void {
  if (previous) writeRun(folder, { ...previous, ...(before ? { ended: before } : {}) })
  else rmSync(folder.run, { force: true })
}

function killMark(folder: MachineFolder, run: Run): string {
  return join(folder.path, `killed.${run.number}`)
}

/** Before a SIGKILL, so that nobody takes it for a crash. */
export function markKilled(folder: MachineFolder, run: Run): void {
  writeFileSync(killMark(folder, run), '', { mode: 0o600 })
}

export function clearKilled(folder: MachineFolder, run: Run | undefined): void {
  if (run) rmSync(killMark(folder, run), { force: true })
}

export function isRunAlive(run: Run): boolean {
  return run.qemu !== undefined && isAlive(run.qemu)
}

/** What the files say now. */
export function statusOf(folder: MachineFolder): RunStatus {
  const run = readRun(folder)
  if (!run) return { state: 'created' }
  if (run.ended) return { ...run.ended, run }
  if (run.qemu === undefined) {
    return isAlive(run.launcher) ? { state: 'starting', run } : { ...run.before, run }
  }
  // First whether it lives, then what it wrote: what it wrote at its end is not missed.
  const alive = isAlive(run.qemu)
  const events = readEventLog(folder.events)
  if (alive) return { ...whyPaused(folder, run, liveStatus(run, events)), run }
  if (!run.ready && !events.some(({ event }) => event === 'SHUTDOWN')) return { ...run.before, run }
  const status = endedStatus(folder, run, events)
  // What told of its end may have gone to a start that began since.
  if (status.exit?.reason === 'lost' && readRun(folder)?.number !== run.number) return statusOf(folder)
  return { ...status, run }
}

function liveStatus(run: Run, events: readonly LoggedEvent[]): VMStatus {
  if (!run.ready && isAlive(run.launcher)) return { state: 'starting' }
  let state: VMState = run.startsPaused ? 'paused' : 'running'
  let reason: string | undefined
  for (const { event, data } of events) {
    if (event === 'STOP' && state !== 'stopping') state = 'paused'
    else if (event === 'RESUME') state = 'running'
    else if (event === 'SHUTDOWN') state = 'stopping'
    else if (event === 'RESET') reason = undefined
    else if (event === 'GUEST_PANICKED') reason = 'the guest panicked'
    else if (event === 'BLOCK_IO_ERROR' && data.action === 'stop') reason = `a disk failed: ${String(data.reason)}`
    if (state === 'running' && event === 'RESUME') reason = undefined
  }
  return reason === undefined ? { state } : { state, reason }
}

function whyPaused(folder: MachineFolder, run: Run, status: VMStatus): VMStatus {
  if (status.state !== 'paused' || status.reason !== undefined || !isSavingCutOff(folder, run.number)) return status
  return { ...status, reason: CUT_OFF }
}

const CUT_OFF = 'the program that saved its memory ended in the middle of that: resume() lets it go on'

/** Whether the guest stands still only because a program was killed while it saved the memory. */
export function isCutOff(folder: MachineFolder, { reason }: VMStatus = statusOf(folder)): boolean {
  return reason === CUT_OFF
}

function endedStatus(folder: MachineFolder, run: Run, events: readonly LoggedEvent[]): VMStatus {
  const exit = exitOf(folder, run, events)
  if (exit.reason !== 'lost') return { state: 'stopped', exit }
  if (run.group && ranOutOfMemory(run.group)) {
    const oom = { code: null, signal: 'SIGKILL', oom: true, reason: 'oom', at: null } as const
    return { state: 'failed', reason: 'QEMU wanted more memory than driverOptions.kvm.limits gives it', exit: oom }
  }
  return { state: 'failed', reason: `QEMU (pid ${run.qemu?.pid}) ended without a shutdown${lastWords(folder)}`, exit }
}

/** The last line that QEMU itself wrote. */
function lastWords(folder: MachineFolder): string {
  const line = logTail(folder.qemuLog, 1)[0]
  return line === undefined ? '' : `: ${line}`
}

export function logTail(path: string, lines: number): string[] {
  try {
    const text = readFileSync(path, 'utf8')
    return text
      .split(/\r?\n/)
      .filter((line) => line.trim() !== '')
      .slice(-lines)
  } catch {
    return []
  }
}

function exitOf(folder: MachineFolder, run: Run, events: readonly LoggedEvent[]): VMExit {
  const unknown = { code: null, signal: null, oom: null } as const
  const shutdown = [...events].reverse().find(({ event }) => event === 'SHUTDOWN')
  const reported = readReport(folder)
  if (reported) return { ...reported, at: shutdown?.at ?? modifiedAt(folder.exit) }
  if (events.some(({ event }) => event === 'GUEST_PANICKED')) return { ...unknown, reason: 'guest-panic', at: shutdown?.at ?? null }
  if (shutdown?.data.guest === true) return { ...unknown, reason: 'guest-shutdown', at: shutdown.at }
  const byHost = shutdown !== undefined
  if (byHost || existsSync(killMark(folder, run))) {
    return { ...unknown, signal: 'SIGKILL', reason: 'signalled', at: shutdown?.at ?? modifiedAt(killMark(folder, run)) }
  }
  return { ...unknown, reason: 'lost', at: null }
}

interface Report {
  code?: number
  signal?: number
  oom?: boolean
}

/** What the guest's init said of its main process. A report that is cut off or forged is none. */
function readReport(folder: MachineFolder): Omit<VMExit, 'at'> | undefined {
  let report: Report | null
  try {
    const text = readFileSync(folder.exit, 'utf8')
    if (text.trim() === '') return undefined
    report = JSON.parse(text) as Report | null
  } catch {
    return undefined
  }
  const { code, signal, oom } = report ?? {}
  if (Number.isInteger(code)) return { code: code as number, signal: null, oom: oom ?? false, reason: 'exited' }
  const name = Object.entries(constants.signals).find(([, number]) => number === signal)?.[0]
  if (name === undefined) return undefined
  return oom ? { code: null, signal: name, oom: true, reason: 'oom' } : { code: null, signal: name, oom: oom ?? null, reason: 'signalled' }
}

function modifiedAt(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? null
}
