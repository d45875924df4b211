import type { ErrorCode } from '@vmkit/core'
import { VMKitError } from '@vmkit/core/driver'

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'NOT_FOUND',
  ENOTDIR: 'NOT_FOUND',
  EACCES: 'PERMISSION_DENIED',
  EPERM: 'PERMISSION_DENIED',
  EROFS: 'PERMISSION_DENIED',
  ENOSPC: 'RESOURCE_EXHAUSTED',
  EDQUOT: 'RESOURCE_EXHAUSTED',
  EMFILE: 'RESOURCE_EXHAUSTED',
  ENFILE: 'RESOURCE_EXHAUSTED',
  EISDIR: 'GUEST_ERROR',
  ENOTEMPTY: 'GUEST_ERROR',
  EEXIST: 'GUEST_ERROR',
  ELOOP: 'GUEST_ERROR',
  ENAMETOOLONG: 'INVALID_CONFIG',
}

/** A failure of a file operation. The message names the path as the machine has it, not where this host reaches it. */
export function fileError(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException).code
  if (error instanceof VMKitError || code === undefined || !code.startsWith('E')) return error
  const words = code === 'ENOENT' ? `There is no ${path} in the machine` : `${path} cannot be used: ${code}`
  return new VMKitError(CODES[code] ?? 'GUEST_ERROR', words, { cause: error })
}
