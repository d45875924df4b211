import { VMKitError } from '../errors.js'
import type { VMSummary } from '../machine.js'
import type { Backend } from './backend.js'
import type { CallOptions } from './operation.js'
import { sweepReason } from './owner.js'

export interface SweptMachine {
  driver: string
  id: string
  name: string
  reason: string
}

/**
 * Deletes machines that nobody will delete any more: those past their `ttl`, and those made with `onDispose: 'delete'` by a
 * process of this host that is gone. Machines that were made to outlive their app stay.
 */
export async function sweepBackend(backend: Backend, options: CallOptions | undefined): Promise<SweptMachine[]> {
  const now = Date.now()
  const swept = await Promise.all(
    (await backend.list({}, options)).map(async ({ id, name, labels }) => {
      const reason = sweepReason(labels, now)
      if (reason === undefined || !(await deleteOnce(backend, { id, name }, options))) return []
      return [{ driver: backend.name, id, name, reason }]
    }),
  )
  return swept.flat()
}

/** Whether it was this call that deleted the machine: another process may sweep at the same time. */
async function deleteOnce(backend: Backend, machine: Pick<VMSummary, 'id' | 'name'>, options: CallOptions | undefined): Promise<boolean> {
  const { id, name } = machine
  try {
    await backend.call<void>({ operation: 'sweep', machine, exclusive: true, interruptsStart: true }, options, (ctx) =>
      backend.driver.delete(id, { force: true }, ctx),
    )
  } catch (error) {
    if (error instanceof VMKitError && error.code === 'NOT_FOUND') return false
    throw error
  }
  backend.events.emit({ type: 'deleted', driver: backend.name, id, name, at: Date.now() })
  return true
}
