import { limitOf } from '@vmkit/core/driver'
/** A file system that the guest has written out and holds still, where vmkit has a way into the guest. */
import { request } from '../agent/request.js'
import type { Host } from '../host.js'
import type { Machine } from '../state/store.js'

/** A guest that still boots, or hangs, does not hold a snapshot up: its disk is then as after a power cut. */
const FREEZE_MS = 3000
const THAW_MS = 30_000

export async function quietly<T>(host: Host, machine: Machine, signal: AbortSignal, task: () => Promise<T>): Promise<T> {
  if (machine.boot.process === undefined) return task()
  const ask = (op: 'freeze' | 'thaw', limit: AbortSignal): Promise<void> =>
    host.guests.use(machine, limit, (port) => request(port, [['op', op]], limit))
  try {
    using limit = limitOf(signal, FREEZE_MS)
    await ask('freeze', limit.signal).catch(() => {})
    signal.throwIfAborted()
    return await task()
  } finally {
    // Also when nobody heard of the freeze: the guest may have.
    await ask('thaw', AbortSignal.timeout(THAW_MS)).catch(() => {})
  }
}
