/** Which processes there are, as /proc tells it (proc(5)). */
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, uptime } from 'node:os'
import { type ProcessStat, readStat, TICKS_PER_SECOND } from '@vmkit/core/state-folder'

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
