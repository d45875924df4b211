/** What a program that was killed left undone is made good when somebody looks at the machine. */
import type { VMState } from '@vmkit/core'
import { isCutOff } from './state/run.js'
import type { Machine } from './state/store.js'

export interface Adoption {
  /** Does not wait: another program may hold the machine. */
  notice(machine: Machine, state: VMState): void
  close(): Promise<void>
}

export function adoption(): Adoption {
  const closing = new AbortController()
  const busy = new Map<string, Promise<void>>()
  return {
    notice(machine, state) {
      const { id, folder } = machine
      if (state !== 'paused' || closing.signal.aborted || busy.has(id) || !isCutOff(folder)) return
      const work = import('./snapshots/cut-off.js').then(({ letGoOn }) => letGoOn(machine, closing.signal))
      // Until it succeeds the status tells what to do, and the next look tries again.
      busy.set(
        id,
        work.catch(() => {}).finally(() => busy.delete(id)),
      )
    },
    async close() {
      closing.abort()
      await Promise.all(busy.values())
    },
  }
}
