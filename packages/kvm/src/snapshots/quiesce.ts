/** A file system that the guest has written out and holds still, where there is a way into the guest. */
import { limitOf } from '@vmkit/core/driver'
import { isPortOpen } from '../agent/port-open.js'
import { withAgent } from '../agent/qga/conversation.js'
import { request } from '../agent/request.js'
import { AGENT_CHANNEL } from '../boot/channels.js'
import type { Host } from '../host.js'
import type { Machine } from '../state/store.js'

/** A guest that still boots, or hangs, does not hold a snapshot up: its disk is then as after a power cut. */
const FREEZE_MS = 3000
const THAW_MS = 30_000

type Ask = (op: 'freeze' | 'thaw', limit: AbortSignal) => Promise<unknown>

/** PID 1 of the vmkit guest, or QEMU's guest agent; `undefined` where nobody listens. */
function holder(host: Host, machine: Machine): Ask | undefined {
  if (machine.boot.process !== undefined)
    return (op, limit) => host.guests.use(machine, limit, (port) => request(port, [['op', op]], limit))
  if (!isPortOpen(machine, AGENT_CHANNEL.name)) return undefined
  return (op, limit) => withAgent(machine, limit, (agent) => agent.call(`guest-fsfreeze-${op}`))
}

export async function quietly<T>(host: Host, machine: Machine, signal: AbortSignal, task: () => Promise<T>): Promise<T> {
  const ask = holder(host, machine)
  if (!ask) return task()
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
