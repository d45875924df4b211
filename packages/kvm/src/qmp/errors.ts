import { type ErrorCode, VMKitError } from '@vmkit/core'
import type { VMKitErrorDetails } from '@vmkit/core/driver'

interface Row {
  /** QMP's error class; absent: any. */
  kind?: string
  words?: RegExp
  code: ErrorCode
}

/** What QEMU says → what it means. First match wins. Words of QEMU 7.2 to 10.0. */
const ROWS: readonly Row[] = [
  { kind: 'CommandNotFound', code: 'UNSUPPORTED' },
  { words: /no space left on device|cannot allocate memory|too many open files/i, code: 'RESOURCE_EXHAUSTED' },
  { words: /permission denied|operation not permitted/i, code: 'PERMISSION_DENIED' },
  {
    words: /could not set up host forwarding rule|address already in use|failed to get "?(write|shared|consistent read)"? lock/i,
    code: 'CONFLICT',
  },
  { kind: 'DeviceNotFound', code: 'NOT_FOUND' },
  { words: /cannot find device|(device|node|job|object) .*not found|no such (file|device)/i, code: 'NOT_FOUND' },
  { words: /duplicate|already exists|already in use/i, code: 'ALREADY_EXISTS' },
  { kind: 'KVMMissingCap', code: 'UNSUPPORTED' },
  { words: /does not support|not supported|is not available|is blocked|migration is disabled/i, code: 'UNSUPPORTED' },
  { kind: 'DeviceNotActive', code: 'INVALID_STATE' },
  {
    words: /requires that vm|resetting the virtual machine is required|in (the )?(state|runstate)|already in progress|is busy/i,
    code: 'INVALID_STATE',
  },
  { words: /invalid parameter|does not accept value|expects|must be|is missing|not a valid/i, code: 'INVALID_CONFIG' },
]

/** A refusal of QEMU, in its own words. */
export function qmpError(command: string, kind: string, words: string, details: VMKitErrorDetails = {}): VMKitError {
  const row = ROWS.find((candidate) => (candidate.kind ?? kind) === kind && (candidate.words?.test(words) ?? true))
  return new VMKitError(row?.code ?? 'BACKEND_ERROR', `QEMU refuses ${command}: ${words}`, { driver: 'kvm', ...details })
}

/** QEMU ended, or its socket is not there. */
export function qemuGone(path: string, cause?: unknown): VMKitError {
  const reason = cause instanceof Error ? `: ${cause.message}` : ''
  return new VMKitError('BACKEND_UNAVAILABLE', `QEMU does not answer at ${path}${reason}`, { driver: 'kvm', cause })
}

export function abortReason(signal: AbortSignal): VMKitError {
  return VMKitError.from(signal.reason, { code: 'ABORTED', driver: 'kvm' })
}
