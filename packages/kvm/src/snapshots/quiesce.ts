/** A file system that the guest has written out and holds still, where there is a way into the guest. */
import { limitOf } from '@vmkit/core/driver'
import { isPortOpen } from '../agent/port-open.js'
import { withAgent } from '../agent/qga/conversation.js'
import { request } from '../agent/request.js'
import { AGENT_CHANNEL, FIRST_EXEC_PORT } from '../boot/channels.js'
import type { Host } from '../host.js'
import type { Machine } from '../state/store.js'

/** A guest that still boots does not hold a snapshot up: its disk is then as after a power cut. */
const BOOTING_MS = 3000
/** One that is up writes out all that it has not written yet: seconds on a busy disk. A guest that hangs costs as much. */
const FREEZE_MS = 15_000
const THAW_MS = 30_000

interface Holder {
  ask(op: 'freeze' | 'thaw', limit: AbortSignal): Promise<unknown>
  isUp: boolean
}

/** PID 1 of the vmkit guest, or QEMU's guest agent; `undefined` where nobody listens. */
function holder(host: Host, machine: Machine): Holder | undefined {
  if (machine.boot.process !== undefined) {
    return {
      ask: (op, limit) => host.guests.use(machine, limit, (port) => request(port, [['op', op]], limit)),
      isUp: isPortOpen(machine, FIRST_EXEC_PORT),
    }
  }
  if (!isPortOpen(machine, AGENT_CHANNEL.name)) return undefined
  return { ask: (op, limit) => withAgent(machine, limit, (agent) => agent.call(`guest-fsfreeze-${op}`)), isUp: true }
}

export async function quietly<T>(host: Host, machine: Machine, signal: AbortSignal, task: () => Promise<T>): Promise<T> {
  const found = holder(host, machine)
  if (!found) return task()
  const { ask, isUp } = found
  try {
    using limit = limitOf(signal, isUp ? FREEZE_MS : BOOTING_MS)
    await ask('freeze', limit.signal).catch(() => {})
    signal.throwIfAborted()
    return await task()
  } finally {
    // Also when nobody heard of the freeze: the guest may have.
    await ask('thaw', AbortSignal.timeout(THAW_MS)).catch(() => {})
  }
}
