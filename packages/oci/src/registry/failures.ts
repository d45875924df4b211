/** What a registry or the way to it answers → VMKitError. */
import { VMKitError } from '@vmkit/core/driver'
import { imageNotFound } from '../errors.js'
import type { ErrorContext } from '../source.js'

/** Nobody is there: another attempt at once would not find anybody either. */
const ABSENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'ERR_INVALID_URL'])
const CUT = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN', 'ECONNABORTED', 'ERR_STREAM_PREMATURE_CLOSE', 'HPE_INVALID_CONSTANT'])

export function isCut(error: unknown): boolean {
  if (error instanceof VMKitError) return false
  const { code, message } = error as NodeJS.ErrnoException
  return CUT.has(code ?? '') || /socket hang up|aborted/.test(message ?? '')
}

export function isAbsent(error: unknown): boolean {
  return ABSENT.has((error as NodeJS.ErrnoException).code ?? '')
}

export const isPassing = (status: number) => status === 429 || status === 408 || (status >= 500 && status !== 501 && status !== 505)

export function unreachable(error: unknown, registry: string, errors: ErrorContext): VMKitError {
  if (error instanceof VMKitError) return error.with(errors)
  const { code = '', message } = error as NodeJS.ErrnoException
  const isCertificate = /CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS|EPROTO|SSL/.test(code)
  return new VMKitError('BACKEND_UNAVAILABLE', `The registry ${registry} cannot be reached: ${message || code}`, {
    ...errors,
    ...(isCertificate ? { retryable: false, hint: 'Name its authority with `ca`, or say `plainHttp` when it speaks http' } : {}),
    cause: error,
  })
}

/** @param words what the registry said, as text */
export function refusal(
  status: number,
  words: string,
  what: string,
  registry: string,
  errors: ErrorContext,
  hasCredentials: boolean,
): VMKitError {
  const said = sayings(words)
  const tail = said === '' ? `HTTP ${status}` : said
  if (status === 401 || status === 403) {
    const message = hasCredentials
      ? `The registry ${registry} does not accept the credentials for ${what}: ${tail}`
      : `The registry ${registry} wants credentials for ${what}: ${tail}`
    return new VMKitError('PERMISSION_DENIED', message, {
      ...errors,
      hint: 'Give `credentials`, or log in with `docker login`; the image may also not exist',
    })
  }
  if (status === 404) return imageNotFound(`The registry ${registry} has no ${what}: ${tail}`, errors)
  return new VMKitError('BACKEND_ERROR', `The registry ${registry} failed on ${what}: ${tail}`, { ...errors, retryable: isPassing(status) })
}

const LONGEST = 300

/** The registry's words: `errors` of the distribution specification, or plain text. */
function sayings(words: string): string {
  try {
    const { errors } = JSON.parse(words) as { errors?: { code?: string; message?: string }[] }
    if (Array.isArray(errors))
      return errors
        .map(({ code, message }) => [code, message].filter(Boolean).join(': '))
        .join('; ')
        .slice(0, LONGEST)
  } catch {
    // plain text, or a page of a proxy
  }
  return words.trimStart().startsWith('<') ? '' : words.trim().slice(0, LONGEST)
}
