/** What is asked of the guest's PID 1 itself. */
import { VMKitError } from '@vmkit/core/driver'
import { encodeRecords, type Records } from '../boot/run-spec.js'
import { DRIVER } from '../errors.js'
import { FROM_GUEST, TO_GUEST } from './frames.js'
import type { Port } from './port.js'

/** @throws VMKitError `GUEST_ERROR` with the guest's errno */
export async function request(port: Port, records: Records, signal: AbortSignal): Promise<void> {
  await ask(port, records, signal)
}

/** @returns what the guest tells behind its errno. @throws VMKitError `GUEST_ERROR` with that errno */
export function ask(port: Port, records: Records, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const finish = (settle: () => void): void => {
      signal.removeEventListener('abort', onAbort)
      port.forget(session)
      settle()
    }
    const onAbort = (): void => finish(() => reject(signal.reason))
    const session = port.open({
      frame({ type, payload }) {
        if (type !== FROM_GUEST.answer) return
        const errno = payload.readInt32LE(0)
        finish(() => (errno === 0 ? resolve(Buffer.from(payload.subarray(4))) : reject(refused(records, errno))))
      },
      lost: (error) => finish(() => reject(error)),
    })
    signal.addEventListener('abort', onAbort, { once: true })
    port.send(TO_GUEST.request, session, encodeRecords(records))
  })
}

function refused(records: Records, errno: number): VMKitError {
  return new VMKitError('GUEST_ERROR', `The guest refused ${JSON.stringify(records[0]?.[1])}: error ${errno}`, { driver: DRIVER })
}
