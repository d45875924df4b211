/**
 * A run is one life of the main process. Its files, made by the supervisor, end in its number:
 * `supervisor.N` (boot id, stat line), `main.N` (stat line), `exit.N` (status, how, OOM kills, uptime), `message.N`.
 */
import { closeSync, fstatSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import type { VMExit, VMState, VMStatus } from '@vmkit/core/driver'
import { bootId, claimsAmong, errno, isAlive, type ProcessStat, parseStat, TICKS_PER_SECOND } from '@vmkit/core/state-folder'
import { notFound, systemError } from './errors.js'
import { signalName } from './signals.js'
import type { Machine } from './store.js'

export interface ExitRecord {
  exit: VMExit
  /** Ticks since boot. */
  ticks: number
}

export interface Run {
  number: number
  /** Its supervisor; absent for the instant before it has written its name, and after a reboot. */
  supervisor?: ProcessStat
  main?: ProcessStat
  startedAt: number | null
  ended?: ExitRecord
  /** The host has been booted since: nothing of it can be alive. */
  earlierBoot: boolean
  paused: boolean
  /** Nothing is left of its tree. */
  swept: boolean
}

export interface Snapshot {
  run?: Run
  /** Operation that holds the lock now. */
  claim?: string
}

/** How long a supervisor has to write the exit after its main process ended. */
export const EXIT_WRITE_MS = 5000

const SUPERVISOR = /^supervisor\.(\d+)$/

/** What the folder of a machine tells. @throws `NOT_FOUND` */
export function readSnapshot(machine: Machine): Snapshot {
  let names: string[]
  try {
    names = readdirSync(machine.folder)
  } catch (error) {
    if (errno(error) === 'ENOENT') throw notFound(machine.id)
    throw systemError(error, { vmId: machine.id })
  }
  const claim = claimsAmong(names).find(({ isLive }) => isLive)?.operation
  const number = lastRun(names)
  return number === 0 ? { claim } : { claim, run: readRun(machine.folder, number, new Set(names)) }
}

function lastRun(names: readonly string[]): number {
  return names.reduce((last, name) => Math.max(last, Number(SUPERVISOR.exec(name)?.[1] ?? 0)), 0)
}

function readRun(folder: string, number: number, names: ReadonlySet<string>): Run {
  const [boot = '', ...rest] = (readLine(join(folder, `supervisor.${number}`))?.text ?? '').split(' ')
  const mainLine = readLine(join(folder, `main.${number}`))
  const main = mainLine && parseStat(mainLine.text)
  return {
    number,
    supervisor: parseStat(rest.join(' ')),
    main,
    startedAt: mainLine ? Math.round(mainLine.writtenAt) : null,
    ended: readExit(join(folder, `exit.${number}`)),
    earlierBoot: boot !== '' && boot !== bootId(),
    paused: names.has(`paused.${number}`),
    swept: names.has(`swept.${number}`),
  }
}

/** The main process of a run, once the supervisor has told it. */
export function readMain(machine: Machine, number: number): ProcessStat | undefined {
  return parseStat(readLine(join(machine.folder, `main.${number}`))?.text ?? '')
}

interface Line {
  text: string
  /** Epoch milliseconds. */
  writtenAt: number
}

/** A whole line, or nothing: what the shell writes comes in one write with its newline. */
function readLine(path: string): Line | undefined {
  try {
    const file = openSync(path, 'r')
    try {
      const text = readFileSync(file, 'latin1')
      return text.endsWith('\n') ? { text: text.slice(0, -1), writtenAt: fstatSync(file).mtimeMs } : undefined
    } finally {
      closeSync(file)
    }
  } catch (error) {
    if (errno(error) === 'ENOENT') return undefined
    throw systemError(error)
  }
}

function readExit(path: string): ExitRecord | undefined {
  const line = readLine(path)
  return line && parseExit(line.text, line.writtenAt)
}

/** `status how oomKills uptime`, as the supervisor writes it. */
export function parseExit(line: string, writtenAt: number): ExitRecord | undefined {
  const match = /^(\d+) (code|relayed|signal) (-|\d+) (\d+(?:\.\d+)?)$/.exec(line)
  if (!match) return undefined
  const oomKills = match[3] === '-' ? null : Number(match[3])
  return {
    exit: { ...outcome(Number(match[1]), match[2] as How, oomKills), at: Math.round(writtenAt) },
    ticks: Math.ceil(Number(match[4]) * TICKS_PER_SECOND),
  }
}

// Shells print nothing for these two, so that 128 + 2 may be a signal or a code.
const UNTOLD: ReadonlySet<number> = new Set([128 + constants.signals.SIGINT, 128 + constants.signals.SIGPIPE])

/** How the shell learnt of the end: main exited, a signal ended it, or another program (`script`) told a number for either. */
type How = 'code' | 'relayed' | 'signal'

function outcome(status: number, how: How, oomKills: number | null): Omit<VMExit, 'at'> {
  if (how === 'code' && UNTOLD.has(status)) return { code: null, signal: null, oom: false, reason: 'unknown' }
  if (how === 'relayed' && status > 128) return { code: null, signal: null, oom: oomKills === 0 ? false : null, reason: 'unknown' }
  if (how !== 'signal') return { code: status, signal: null, oom: false, reason: 'exited' }
  const signal = signalName(status - 128)
  // The kernel's OOM killer uses SIGKILL and nothing else.
  const oom = signal !== 'SIGKILL' ? false : oomKills === null ? null : oomKills > 0
  return { code: null, signal, oom, reason: oom ? 'oom' : 'signalled' }
}

const LOST: VMExit = { code: null, signal: null, oom: null, reason: 'lost', at: null }

/** Main, or the supervisor that is about to start it. */
export function isRunAlive(run: Run): boolean {
  if (run.earlierBoot || run.ended) return false
  return (run.main !== undefined && isAlive(run.main)) || (run.supervisor !== undefined && isAlive(run.supervisor))
}

/** How the run ended; `undefined` while it goes on. `reread` looks at the folder again. */
export function exitOf(run: Run, reread: () => Run | undefined): VMExit | undefined {
  if (run.ended) return run.ended.exit
  if (isRunAlive(run)) return undefined
  // It may have ended, and told how, between the reading of the folder and the look at its processes.
  return reread()?.ended?.exit ?? LOST
}

function stateOf(snapshot: Snapshot, exit: VMExit | undefined): VMState {
  const { run, claim } = snapshot
  if (!run) return claim === 'start' ? 'starting' : 'created'
  if (exit) return claim === 'start' ? 'starting' : 'stopped'
  if (claim === 'stop' || claim === 'delete') return 'stopping'
  if (!run.main) return 'starting'
  return run.paused ? 'paused' : 'running'
}

export function statusOf(machine: Machine): VMStatus & { run?: Run } {
  const snapshot = readSnapshot(machine)
  const exit = snapshot.run && exitOf(snapshot.run, () => readSnapshot(machine).run)
  const reason = exit?.reason === 'lost' ? 'its supervisor ended without telling how the machine did' : undefined
  return { state: stateOf(snapshot, exit), ...(reason ? { reason } : {}), ...(exit ? { exit } : {}), run: snapshot.run }
}
