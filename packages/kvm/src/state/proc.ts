/** Which processes of the host are whose, as /proc tells it (proc(5)). */
import { readdirSync, readFileSync } from 'node:fs'
import { hasEnded, type Identity, identify, readStat } from '@vmkit/core/state-folder'

function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

/** Whether a process of this group has not ended, be it without its leader. */
export function isGroupAlive(group: number): boolean {
  return pids().some((pid) => {
    const stat = readStat(pid)
    return stat?.group === group && !hasEnded(stat)
  })
}

/** Processes that were started with this argument. */
export function processesWithArgument(argument: string): Identity[] {
  const found: Identity[] = []
  for (const pid of pids()) {
    try {
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
      const identity = commandLine.split('\0').includes(argument) ? identify(pid) : undefined
      if (identity) found.push(identity)
    } catch {
      // It has ended, or is not ours to read.
    }
  }
  return found
}
