import { type ErrorCode, VMKitError } from '@vmkit/core'
import type { VMKitErrorDetails } from '@vmkit/core/driver'

interface Row {
  /** HTTP status; absent: any, also an error inside a progress stream, which has none. */
  status?: number
  words?: RegExp
  code: ErrorCode
}

/**
 * What the engine says → what it means. First match wins. The words are those of Docker 20.10 to 28 and of Podman 4; the
 * integration tests provoke each of them.
 */
const ROWS: readonly Row[] = [
  { words: /port is already allocated|address already in use|failed to bind (host )?port/i, code: 'CONFLICT' },
  {
    words: /no space left on device|too many open files|no available IPv4 addresses|could not find an available/i,
    code: 'RESOURCE_EXHAUSTED',
  },
  {
    words: /unauthorized|authentication required|no basic auth credentials|incorrect username or password|pull access denied/i,
    code: 'PERMISSION_DENIED',
  },
  {
    words: /no such image|unrecognized image ID|manifest unknown|manifest for .* not found|image not known|reference does not exist/i,
    code: 'IMAGE_NOT_FOUND',
  },
  { status: 404, words: /image .* not found/i, code: 'IMAGE_NOT_FOUND' },
  // Of an image that is being removed at this moment: Podman, and Docker.
  { status: 500, words: /ImageData to ImageInspect.*layer not known/i, code: 'IMAGE_NOT_FOUND' },
  { status: 500, words: /^layer does not exist$|failed to get digest sha256:.*no such file/i, code: 'IMAGE_NOT_FOUND' },
  { words: /container name .*already in use|already in use, cannot rename/i, code: 'ALREADY_EXISTS' },
  { words: /volume .*already exists|network with name .* already exists|network name .* already used/i, code: 'ALREADY_EXISTS' },
  {
    words:
      /is not running|not running|is paused|already paused|not paused|is restarting|cannot remove a running|cannot remove container .* as it is running|marked for removal/i,
    code: 'INVALID_STATE',
  },
  { words: /rootfs is marked read-only|permission denied.*(docker|podman)\S*\.sock/i, code: 'PERMISSION_DENIED' },
  {
    words:
      /executable file not found|exec: .*(no such file or directory|permission denied)|unable to find user|no matching entries in passwd|invalid reference format|invalid signal|unknown signal|bind source path does not exist|is not an absolute path|not a directory/i,
    code: 'INVALID_CONFIG',
  },
  {
    words:
      /seccomp profile|unexpected EOF|archive\/tar|invalid tar header|unknown runtime|no such device|adding custom device|could not select device driver|minimum memory limit|invalid label format/i,
    code: 'INVALID_CONFIG',
  },
  { status: 400, code: 'INVALID_CONFIG' },
  { status: 401, code: 'PERMISSION_DENIED' },
  { status: 403, code: 'PERMISSION_DENIED' },
  { status: 404, code: 'NOT_FOUND' },
  { status: 409, code: 'CONFLICT' },
  { status: 501, code: 'UNSUPPORTED' },
  { status: 503, code: 'BACKEND_UNAVAILABLE' },
]

/** An answer of the engine that is no success, with its own words. */
export function engineError(status: number | undefined, words: string, details: VMKitErrorDetails = {}): VMKitError {
  const row = ROWS.find(
    (candidate) => (candidate.status === undefined || candidate.status === status) && (candidate.words?.test(words) ?? true),
  )
  return new VMKitError(row?.code ?? 'BACKEND_ERROR', words, { driver: 'docker', ...details })
}

const GONE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'ERR_STREAM_PREMATURE_CLOSE',
])

/** The codes of Node's TLS and the alerts of OpenSSL, each of which a test provokes. */
const TLS_ROWS: readonly { says: RegExp; code: ErrorCode; means: (target: string) => string; hint: string }[] = [
  {
    says: /alert (certificate required|bad certificate|unknown ca)/i,
    code: 'PERMISSION_DENIED',
    means: (target) => `The engine at ${target} does not accept the certificate of this client`,
    hint: 'Give tls.cert and tls.key, or cert.pem and key.pem in DOCKER_CERT_PATH, signed by the CA that the engine trusts',
  },
  {
    says: /ERR_OSSL_(PEM|X509)/,
    code: 'INVALID_CONFIG',
    means: (target) => `The TLS files for the engine at ${target} are no certificates and key in PEM that belong together`,
    hint: 'Look at tls.ca, tls.cert and tls.key, or ca.pem, cert.pem and key.pem in DOCKER_CERT_PATH',
  },
  {
    says: /UNABLE_TO_|SELF_SIGNED|CERT_HAS_EXPIRED|ERR_TLS_CERT_ALTNAME_INVALID|CERT_SIGNATURE_FAILURE/,
    code: 'PERMISSION_DENIED',
    means: (target) => `The certificate of the engine at ${target} is not trusted`,
    hint: "Give the engine's CA as tls.ca, or as ca.pem in DOCKER_CERT_PATH, and the host name that its certificate has",
  },
]

/** A failure on the way to the engine. `signal` tells an abort, whose reason is thrown as it is, from a broken connection. */
export function transportError(error: unknown, target: string, signal?: AbortSignal): VMKitError {
  if (error instanceof VMKitError) return error
  if (signal?.aborted) return abortReason(signal)
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'EACCES') {
    return new VMKitError('PERMISSION_DENIED', `This user may not use the engine at ${target}: ${message}`, {
      driver: 'docker',
      hint: 'Run as a user that may open the socket, such as a member of its group',
      cause: error,
    })
  }
  const tls = TLS_ROWS.find(({ says }) => says.test(`${code} ${message}`))
  if (tls) return new VMKitError(tls.code, `${tls.means(target)}: ${message}`, { driver: 'docker', hint: tls.hint, cause: error })
  const isGone = GONE.has(code ?? '') || /socket hang up|aborted|timed out/i.test(message ?? '')
  if (isGone)
    return new VMKitError('BACKEND_UNAVAILABLE', `The engine at ${target} does not answer: ${message}`, { driver: 'docker', cause: error })
  return VMKitError.from(error, { driver: 'docker' })
}

export function abortReason(signal: AbortSignal): VMKitError {
  return VMKitError.from(signal.reason, { code: 'ABORTED', driver: 'docker' })
}

export function hasCode(error: unknown, ...codes: ErrorCode[]): boolean {
  return error instanceof VMKitError && codes.includes(error.code)
}
