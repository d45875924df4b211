/** Which processes of the host are whose, as /proc tells it (proc(5)). */
import { readdirSync, readFileSync } from 'node:fs'
import { type Identity, identify } from '@vmkit/core/state-folder'

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
