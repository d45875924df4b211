import { type ErrorCode, VMKitError } from '@vmkit/core'
import type { VMKitErrorDetails } from '@vmkit/core/driver'

export const DRIVER = 'kvm'

/** A failure of the system, by its `code`. */
const BY_ERRNO: Readonly<Record<string, { code: ErrorCode; hint?: string }>> = {
  EACCES: { code: 'PERMISSION_DENIED' },
  EPERM: { code: 'PERMISSION_DENIED' },
  EROFS: { code: 'PERMISSION_DENIED', hint: 'The state folder is on a read-only file system; set the option stateDir' },
  ENOSPC: { code: 'RESOURCE_EXHAUSTED', hint: 'The disk is full, or there are no inotify watches left' },
  EDQUOT: { code: 'RESOURCE_EXHAUSTED' },
  EMFILE: { code: 'RESOURCE_EXHAUSTED', hint: 'Raise the limit of open files of this process' },
  ENFILE: { code: 'RESOURCE_EXHAUSTED' },
  EAGAIN: { code: 'RESOURCE_EXHAUSTED', hint: 'The host has no room for one more process; see ulimit -u and pids limits' },
  ENOMEM: { code: 'RESOURCE_EXHAUSTED' },
}

export function errno(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

/** Any thrown value as a VMKitError with the code that fits the system's. */
export function systemError(error: unknown, details: VMKitErrorDetails = {}): VMKitError {
  const known = BY_ERRNO[errno(error) ?? '']
  return VMKitError.from(error, { driver: DRIVER, code: known?.code, hint: known?.hint, ...details })
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
