/** What a program that was killed left undone is made good when somebody looks at the machine. */
import type { VMState } from '@vmkit/core'
import type { Host } from './host.js'
import { finishJoining, isJoiningCutOff } from './lifecycle.js'
import { hasJoined, tellLeft } from './net/names.js'
import { isCutOff } from './state/run.js'
import type { Machine } from './state/store.js'

export interface Adoption {
  /** Does not wait: another program may hold the machine. */
  notice(machine: Machine, state: VMState): void
  close(): Promise<void>
}

export function adoption(host: Host): Adoption {
  const closing = new AbortController()
  const busy = new Map<string, Promise<void>>()

  function undone(machine: Machine, state: VMState): Promise<void> | undefined {
    if (state === 'paused' && isCutOff(machine.folder))
      return import('./snapshots/cut-off.js').then(({ letGoOn }) => letGoOn(machine, closing.signal))
    if (state === 'running' && isJoiningCutOff(machine)) return finishJoining(host, machine, closing.signal)
    // It ended by itself: its neighbours still know its name.
    if ((state === 'stopped' || state === 'failed') && hasJoined(machine)) return tellLeft(host, machine, closing.signal)
    return undefined
  }

  return {
    notice(machine, state) {
      const { id } = machine
      if (closing.signal.aborted || busy.has(id)) return
      const work = undone(machine, state)
      if (!work) return
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
