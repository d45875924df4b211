import { VMKitError } from '../errors.js'
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
  const found = (await backend.list({}, options)).flatMap((summary) => {
    const reason = sweepReason(summary.labels, now)
    return reason === undefined ? [] : [{ driver: summary.driver, id: summary.id, name: summary.name, reason }]
  })
  const swept = await Promise.all(
    found.map(async (machine) => {
      try {
        await backend.call<void>({ operation: 'sweep', vmId: machine.id, exclusive: true }, options, undefined, (ctx) =>
          backend.driver.delete(machine.id, { force: true }, ctx),
        )
        return [machine]
      } catch (error) {
        // Another process swept it first.
        if (error instanceof VMKitError && error.code === 'NOT_FOUND') return []
        throw error
      }
    }),
  )
  return swept.flat()
}
