import { VMKitError, type VMKitErrorDetails } from '@vmkit/core/driver'
import { systemError as systemErrorOf } from '@vmkit/core/state-folder'
import { DRIVER } from './name.js'

export { DRIVER }

/** Any thrown value as a VMKitError with the code that fits the system's. */
export function systemError(error: unknown, details: VMKitErrorDetails = {}): VMKitError {
  return systemErrorOf(error, { driver: DRIVER, ...details })
}

export function notFound(id: string): VMKitError {
  return new VMKitError('NOT_FOUND', `There is no machine ${JSON.stringify(id)}`, { driver: DRIVER, vmId: id })
}

export function invalidState(id: string, operation: string, state: string): VMKitError {
  return new VMKitError('INVALID_STATE', `Cannot ${operation} a machine that is \`${state}\``, { driver: DRIVER, operation, vmId: id })
}

/** An option that this driver, or this host, cannot honour. */
export function unsupportedField(field: string, reason: string, details: VMKitErrorDetails = {}): VMKitError {
  return new VMKitError('UNSUPPORTED', `The kvm driver cannot honour \`${field}\` here: ${reason}`, {
    driver: DRIVER,
    operation: 'create',
    field,
    ...details,
  })
}

/** The caller's reason, as it is. */
export function abortReason(signal: AbortSignal): VMKitError {
  return VMKitError.from(signal.reason, { code: 'ABORTED', driver: DRIVER })
}
