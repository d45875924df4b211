import { VMKitError, type VMKitErrorDetails } from '../driver-kit.js'
import type { ErrorCode } from '../errors.js'

/** A failure of the system, by its `code`. Each row names what a user can do about it. */
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

/** The `code` of a system error, such as `ENOENT`. */
export function errno(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

/** Any thrown value as a VMKitError with the code that fits the system's. */
export function systemError(error: unknown, details: VMKitErrorDetails = {}): VMKitError {
  const known = BY_ERRNO[errno(error) ?? '']
  return VMKitError.from(error, { code: known?.code, hint: known?.hint, ...details })
}
