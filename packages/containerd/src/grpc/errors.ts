import { VMKitError, type VMKitErrorDetails } from '@vmkit/core/driver'

type ErrorCode = VMKitError['code']

/** gRPC's codes (its `statuscodes.md`), by number. */
const CANCELLED = 1
const DEADLINE_EXCEEDED = 4
const UNAVAILABLE = 14

interface Row {
  /** gRPC's; absent: any. */
  code?: number
  words?: RegExp
  means: ErrorCode
  hint?: string
}

/** What containerd and its shims say → what it means. The first match wins. The words are those of containerd 1.6 to 2.1 and runc. */
const ROWS: readonly Row[] = [
  {
    words: /EACCES|permission denied.*\.sock/i,
    means: 'PERMISSION_DENIED',
    hint: 'Run as root, or as a user that may open the socket of containerd',
  },
  { words: /cgroups in hybrid mode not supported/i, means: 'UNSUPPORTED', hint: 'Use the runtime runc, or a host with cgroup v2 alone' },
  { words: /no space left on device|too many open files|disk quota exceeded/i, means: 'RESOURCE_EXHAUSTED' },
  { words: /executable file not found|exec: .*(no such file or directory|permission denied|not a directory)/i, means: 'INVALID_CONFIG' },
  { words: /failed to resolve runtime path|binary not installed|unsupported runtime|snapshotter not loaded/i, means: 'INVALID_CONFIG' },
  { words: /unable to find user|no matching entries in passwd|not an absolute path|invalid mount/i, means: 'INVALID_CONFIG' },
  {
    words:
      /cannot start a container that has|process already finished|container not running|container not paused|is not running|not in (the )?\w+ state|already paused|paused state|cannot (pause|resume|delete|exec) /i,
    means: 'INVALID_STATE',
  },
  // Somebody else writes the same blob.
  { words: /\bref \S+ locked\b/i, means: 'CONFLICT' },
  { words: /unexpected commit (digest|size)|failed size validation|digest mismatch/i, means: 'BACKEND_ERROR' },
  // The last one: a layer links to a file that is in none below it.
  {
    words: /archive\/tar|invalid tar header|unexpected EOF|gzip: invalid|magic number mismatch|mount callback failed on \S+: link /i,
    means: 'INVALID_CONFIG',
  },
  { words: /service \w+: not implemented|is not supported$/i, means: 'UNSUPPORTED' },
  { code: 3, means: 'INVALID_CONFIG' },
  { code: DEADLINE_EXCEEDED, means: 'TIMEOUT' },
  { code: 5, means: 'NOT_FOUND' },
  { code: 6, means: 'ALREADY_EXISTS' },
  { code: 7, means: 'PERMISSION_DENIED' },
  { code: 8, means: 'RESOURCE_EXHAUSTED' },
  { code: 9, means: 'INVALID_STATE' },
  { code: 10, means: 'CONFLICT' },
  { code: 12, means: 'UNSUPPORTED' },
  { code: UNAVAILABLE, means: 'BACKEND_UNAVAILABLE' },
  { code: 16, means: 'PERMISSION_DENIED' },
]

/** What a call rejected with, of which gRPC's own error has `code` and `details`. */
interface Failure {
  code?: unknown
  details?: unknown
  message?: unknown
}

/** A failed call as our error. An abort by `signal` is thrown with the reason that the signal has. */
export function grpcError(failure: unknown, target: string, details: VMKitErrorDetails, signal?: AbortSignal): VMKitError {
  if (failure instanceof VMKitError) return failure
  if (signal?.aborted) return abortReason(signal, details)
  const { code, details: said, message } = (failure ?? {}) as Failure
  if (typeof code !== 'number') return VMKitError.from(failure, details)
  if (code === CANCELLED)
    return new VMKitError('BACKEND_UNAVAILABLE', `The call to containerd at ${target} was cut off`, { ...details, cause: failure })
  const words = typeof said === 'string' && said !== '' ? said : String(message)
  const row = ROWS.find((candidate) => (candidate.code === undefined || candidate.code === code) && (candidate.words?.test(words) ?? true))
  const means = row?.means ?? 'BACKEND_ERROR'
  const text = code === UNAVAILABLE ? `containerd at ${target} does not answer: ${dialError(words)}` : words
  return new VMKitError(means, text, { hint: row?.hint, ...details, cause: failure })
}

/** What the socket said, out of grpc-js' report on its attempts. */
function dialError(words: string): string {
  return /Last error: (?:Error: )?(.*?)(?: \(\d{4}-\d\d-[^)]*\))?\. Resolution note/.exec(words)?.[1] ?? words
}

export function abortReason(signal: AbortSignal, details: VMKitErrorDetails = {}): VMKitError {
  return VMKitError.from(signal.reason, { code: 'ABORTED', ...details })
}

/** Whether a call failed because the connection did: the next one should make a new one. */
export function isDisconnected(failure: unknown): boolean {
  const { code, details } = (failure ?? {}) as Failure
  return code === UNAVAILABLE && !/\bref \S+ locked\b/.test(String(details))
}

export function hasCode(error: unknown, ...codes: ErrorCode[]): error is VMKitError {
  return error instanceof VMKitError && codes.includes(error.code)
}
