import type { HostProbe } from './driver.js'
import { VMKitError } from './errors.js'
import type { Missing } from './machine.js'

/** Codes that tell somebody what to mend. Any other failure of a look at the host is a backend that is not there. */
const TELLING: readonly unknown[] = ['PERMISSION_DENIED', 'INVALID_CONFIG', 'UNSUPPORTED'] satisfies HostProbe['code'][]

/** What a probe answers whose look ended with this error: calls that need the backend then reject as it did. */
export function unavailable(error: unknown, missing: Missing): HostProbe {
  const { code, message, hint, field, evidence } = VMKitError.from(error)
  return {
    available: false,
    reason: message,
    missing,
    ...(TELLING.includes(code) ? { code: code as HostProbe['code'] } : {}),
    ...(hint === undefined ? {} : { hint }),
    ...(field === undefined ? {} : { field }),
    ...(evidence?.tried ? { tried: evidence.tried } : {}),
  }
}
