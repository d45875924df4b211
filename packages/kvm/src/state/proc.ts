/** What /proc tells of processes (proc(5)). A pid with its start time and the host's boot names one process for ever. */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'

export interface Identity {
  pid: number
  /** Clock ticks since boot. */
  start: number
  boot: string
}

export interface ProcessStat {
  state: string
  userTicks: number
  systemTicks: number
  start: number
  residentPages: number
}

/** 100 a second on every Linux that reports to user space. */
export const TICKS_PER_SECOND = 100

/** One line of /proc/PID/stat; the name in it may hold spaces and brackets. */
function parseStat(line: string): ProcessStat | undefined {
  const close = line.lastIndexOf(') ')
  if (close < 0) return undefined
  const fields = line.slice(close + 2).split(' ')
  const number = (index: number): number => Number(fields[index])
  const stat = { state: fields[0] ?? '', userTicks: number(11), systemTicks: number(12), start: number(19), residentPages: number(21) }
  return Number.isInteger(stat.start) ? stat : undefined
}

const buffer = Buffer.alloc(1024)

export function readStat(pid: number | 'self'): ProcessStat | undefined {
  try {
    const file = openSync(`/proc/${pid}/stat`, 'r')
    try {
      return parseStat(buffer.toString('latin1', 0, readSync(file, buffer, 0, buffer.length, 0)))
    } finally {
      closeSync(file)
    }
  } catch {
    return undefined
  }
}

let boot: string | undefined

export function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  return boot
}

let self: Identity | undefined

export function ownIdentity(): Identity {
  self ??= identify(process.pid) as Identity
  return self
}

export function identify(pid: number): Identity | undefined {
  const stat = readStat(pid)
  return stat && { pid, start: stat.start, boot: bootId() }
}

/** The process itself, not a later one of its pid; a zombie has ended. */
export function isAlive({ pid, start, boot }: Identity): boolean {
  if (boot !== bootId()) return false
  const stat = readStat(pid)
  return stat !== undefined && stat.start === start && stat.state !== 'Z' && stat.state !== 'X'
}

/** `false` when it is gone. */
export function signalProcess(target: Identity, signal: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false
  try {
    process.kill(target.pid, signal)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

/** Processes that were started with this argument. */
export function processesWithArgument(argument: string): Identity[] {
  const found: Identity[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const commandLine = readFileSync(`/proc/${name}/cmdline`, 'latin1')
      const identity = commandLine.split('\0').includes(argument) ? identify(Number(name)) : undefined
      if (identity) found.push(identity)
    } catch {
      // It has ended, or is not ours to read.
    }
  }
  return found
}
