/** What /proc/PID/stat tells of a process (proc(5)). Times are clock ticks since boot: 100 a second on every Linux. */
import { closeSync, openSync, readSync } from 'node:fs'

export const TICKS_PER_SECOND = 100

export interface ProcessStat {
  pid: number
  state: string
  parent: number
  group: number
  session: number
  userTicks: number
  systemTicks: number
  /** Its threads that have not ended, and its first one until somebody collects it. */
  threads: number
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
    threads: number(17),
    start: number(19),
    residentPages: number(21),
  }
  return Number.isInteger(stat.pid) && stat.pid > 0 && Number.isInteger(stat.start) ? stat : undefined
}

// One buffer and three calls: five times as fast as readFileSync, and a scan makes this call for every process there is.
let buffer: Buffer | undefined

export function readStat(pid: number | 'self' | `${number}/task/${number}`): ProcessStat | undefined {
  try {
    const file = openSync(`/proc/${pid}/stat`, 'r')
    try {
      buffer ??= Buffer.alloc(1024)
      return parseStat(buffer.toString('latin1', 0, readSync(file, buffer, 0, buffer.length, 0)))
    } finally {
      closeSync(file)
    }
  } catch {
    return undefined
  }
}

/** A zombie has ended, with its last thread: until then its files, sockets and locks are held. */
export function hasEnded({ state, threads }: ProcessStat): boolean {
  return (state === 'Z' || state === 'X') && threads <= 1
}
