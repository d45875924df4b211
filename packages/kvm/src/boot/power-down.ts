import { setTimeout as delay } from 'node:timers/promises'
import { isPortOpen } from '../agent/port-open.js'
import { withAgent } from '../agent/qga/conversation.js'
import { connectQmp } from '../qmp/client.js'
import type { Machine } from '../state/store.js'
import { AGENT_CHANNEL } from './channels.js'

/** After this the button is pressed as well: an agent that hangs must not cost the whole grace, and a slow one may still hear. */
const AGENT_MS = 5000

/**
 * Asks QEMU's guest agent, where the guest has one: it needs nobody who minds the power button. Else presses that. Whether the guest
 * does anything is its own affair.
 */
export async function powerDown(machine: Machine, signal: AbortSignal): Promise<void> {
  const asked = askAgent(machine, signal)
  const late = new AbortController()
  const isTaken = await Promise.race([asked, delay(AGENT_MS, false, { signal: late.signal }).catch(() => false)])
  late.abort()
  if (isTaken) return
  const qmp = await connectQmp(machine.folder.qmp, { signal })
  try {
    await qmp.execute('system_powerdown')
  } finally {
    await qmp.close()
  }
  await asked
}

/** Whether it took the order. */
async function askAgent(machine: Machine, signal: AbortSignal): Promise<boolean> {
  if (!isPortOpen(machine, AGENT_CHANNEL.name)) return false
  return withAgent(machine, signal, (agent) => agent.tell('guest-shutdown')).then(
    () => true,
    () => false,
  )
}
