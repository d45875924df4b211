import { limitOf } from '@vmkit/core/driver'
import { isPortOpen } from '../agent/port-open.js'
import { withAgent } from '../agent/qga/conversation.js'
import { connectQmp } from '../qmp/client.js'
import type { Machine } from '../state/store.js'
import { AGENT_CHANNEL } from './channels.js'

/** An agent that answers does so in less; one that hangs must not cost the whole grace. */
const AGENT_MS = 5000

/**
 * Asks QEMU's guest agent, where the guest has one: it needs nobody who minds the power button. Else presses that. Whether the guest
 * does anything is its own affair.
 */
export async function powerDown(machine: Machine, signal: AbortSignal): Promise<void> {
  if (await agentTakesIt(machine, signal)) return
  const qmp = await connectQmp(machine.folder.qmp, { signal })
  try {
    await qmp.execute('system_powerdown')
  } finally {
    await qmp.close()
  }
}

async function agentTakesIt(machine: Machine, signal: AbortSignal): Promise<boolean> {
  if (!isPortOpen(machine, AGENT_CHANNEL.name)) return false
  using limit = limitOf(signal, AGENT_MS)
  return withAgent(machine, limit.signal, (agent) => agent.tell('guest-shutdown')).then(
    () => true,
    () => false,
  )
}
