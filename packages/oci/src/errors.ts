import { VMKitError, type VMKitErrorDetails } from '@vmkit/core/driver'
import type { ErrorContext } from './source.js'

export const IMAGE_FIELD = 'config.image'

/** The image, archive or layer is not what it should be. */
export function badImage(
  message: string,
  { field = IMAGE_FIELD, ...context }: ErrorContext = {},
  details: VMKitErrorDetails = {},
): VMKitError {
  return new VMKitError('INVALID_CONFIG', message, { field, ...context, ...details })
}

export function imageNotFound(message: string, context: ErrorContext = {}, details: VMKitErrorDetails = {}): VMKitError {
  return new VMKitError('IMAGE_NOT_FOUND', message, { ...context, ...details })
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortReason(signal)
}

export function abortReason(signal: AbortSignal): VMKitError {
  return VMKitError.from(signal.reason, { code: 'ABORTED' })
}

export function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code
}
