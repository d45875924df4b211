import type { Machine } from '../state/store.js'
import { connectQmp, type Qmp } from './client.js'

/** One QMP conversation, under the machine's lock. */
export async function command<T>(machine: Machine, signal: AbortSignal, task: (qmp: Qmp) => Promise<T>): Promise<T> {
  const qmp = await connectQmp(machine.folder.qmp, { signal })
  try {
    return await task(qmp)
  } finally {
    await qmp.close()
  }
}
