/** What /proc tells of processes (proc(5)). Times are clock ticks since boot: 100 a second on every Linux. */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { availableParallelism, uptime } from 'node:os'

export const TICKS_PER_SECOND = 100

export interface ProcessStat {
  pid: number
  state: string
  parent: number
  group: number
  session: number
  userTicks: number
  systemTicks: number
  /** With the pid it names one process: a reused pid has another. */
  start: number
  residentPages: number
}

/** One line of /proc/PID/stat; `undefined` when it is not one. The name may hold spaces and brackets. */
export function parseStat(line: string): ProcessStat | undefined {
  const open = line.indexOf(' (')
  const close = line.lastIndexOf(') ')
  if (open < 0 || close < open) return undefined
  const fields = line
    .slice(close + 2)
    .trim()
    .split(' ')
  const number = (index: number): number => Number(fields[index])
  const stat = {
    pid: Number(line.slice(0, open)),
    state: fields[0] ?? '',
    parent: number(1),
    group: number(2),
    session: number(3),
    userTicks: number(11),
    systemTicks: number(12),
    start: number(19),
    residentPages: number(21),
  }
  return Number.isInteger(stat.pid) && stat.pid > 0 && Number.isInteger(stat.start) ? stat : undefined
}

// One buffer and three calls: five times as fast as readFileSync, and a scan makes this call for every process there is.
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

/** The process itself, not a later one of its pid; a zombie has ended. */
export function isAlive(process: { pid: number; start: number }): boolean {
  const now = readStat(process.pid)
  return now !== undefined && now.start === process.start && !hasEnded(now)
}

export function hasEnded(stat: ProcessStat): boolean {
  return stat.state === 'Z' || stat.state === 'X'
}

/** Every process that was started after `first`, and itself. */
export function processesSince(first: { pid: number; start: number }): ProcessStat[] {
  const lowest = mayHaveWrapped(first, uptime() * TICKS_PER_SECOND) ? 1 : first.pid
  const found: ProcessStat[] = []
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!(pid >= lowest)) continue
    const stat = readStat(pid)
    if (stat && stat.start >= first.start) found.push(stat)
  }
  return found
}

// Ten times what a core can do: making a process takes more than 40 µs, a thread more than 4.
const FORKS_PER_TICK = 2500

/**
 * Whether a later process may have a smaller pid. The kernel hands pids out upwards and begins again after `pidMax`, which
 * takes many forks; as long as there was no time for them, most of /proc need not be read.
 */
export function mayHaveWrapped(
  first: { pid: number; start: number },
  nowTicks: number,
  pidMax = readPidMax(),
  cores = availableParallelism(),
): boolean {
  return first.pid + (nowTicks - first.start + 1) * FORKS_PER_TICK * cores >= pidMax
}

let pidMaxValue: number | undefined

function readPidMax(): number {
  pidMaxValue ??= Number(readFileSync('/proc/sys/kernel/pid_max', 'latin1')) || 0
  return pidMaxValue
}

/** Whether the environment a process was started with holds `entry`; false for one that may not be read. */
export function hasEnvironment(pid: number, entry: string): boolean {
  try {
    const environ = readFileSync(`/proc/${pid}/environ`, 'latin1')
    return environ.startsWith(`${entry}\0`) || environ.includes(`\0${entry}\0`)
  } catch {
    return false
  }
}

/** Sends a signal if it is still this process. `false` when it is gone. */
export function signalProcess(target: { pid: number; start: number }, signal: NodeJS.Signals | number): boolean {
  if (!isAlive(target)) return false
  try {
    process.kill(target.pid, signal)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
