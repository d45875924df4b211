import { connectQmp } from '../qmp/client.js'
import type { Machine } from '../state/store.js'

/** Presses the power button. Whether the guest minds it is its own affair. */
export async function powerDown(machine: Machine, signal: AbortSignal): Promise<void> {
  const qmp = await connectQmp(machine.folder.qmp, { signal })
  try {
    await qmp.execute('system_powerdown')
  } finally {
    await qmp.close()
  }
}
