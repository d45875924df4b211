import { existsSync } from 'node:fs'
import { limitOf, VMKitError } from '@vmkit/core/driver'
import { untilChange } from '@vmkit/core/state-folder'
import { DRIVER, notFound } from '../errors.js'
import { statusOf } from '../state/run.js'
import type { Machine } from '../state/store.js'
import { connectQmp, type Qmp } from './client.js'

/** A QEMU that ends hangs up first; a host that is busy comes to the rest of its end this late. */
const ENDS_MS = 5000
const LOOK_MS = 5

/** One QMP conversation, under the machine's lock. @throws VMKitError `INVALID_STATE` when the machine ends meanwhile */
export async function command<T>(machine: Machine, signal: AbortSignal, task: (qmp: Qmp) => Promise<T>): Promise<T> {
  const explain = async (error: unknown): Promise<never> => {
    throw signal.aborted ? error : await orEnded(machine, error)
  }
  const qmp = await connectQmp(machine.folder.qmp, { signal }).catch(explain)
  try {
    return await task(qmp)
  } catch (error) {
    // What else does not answer, such as the target of a migration, tells nothing of this machine.
    return qmp.isOver() ? await explain(error) : await Promise.reject(error)
  } finally {
    await qmp.close()
  }
}

/** Switches it off. The answer may not come any more. */
export async function quit({ folder }: Machine, signal: AbortSignal): Promise<void> {
  const qmp = await connectQmp(folder.qmp, { signal })
  try {
    await qmp.execute('quit')
  } finally {
    await qmp.close()
  }
}

/** The error; `INVALID_STATE` instead of it where nobody answered because the machine has ended, or is about to. */
export async function orEnded({ id, folder }: Machine, error: unknown): Promise<unknown> {
  if (!(error instanceof VMKitError && error.code === 'BACKEND_UNAVAILABLE')) return error
  using limit = limitOf(undefined, ENDS_MS)
  const state = await untilChange(folder.path, limit.signal, LOOK_MS, () => {
    const now = statusOf(folder).state
    return now === 'starting' || now === 'running' || now === 'paused' ? undefined : now
  }).catch(() => undefined)
  if (state === undefined) return error
  if (!existsSync(folder.path)) return notFound(id)
  return new VMKitError('INVALID_STATE', `The machine ended meanwhile: it is \`${state}\``, { driver: DRIVER, vmId: id, cause: error })
}
