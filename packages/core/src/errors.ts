/** Every way in which a vmkit call can fail. Closed: adding a code is a new spec version. */
export const ERROR_CODES = [
  'INVALID_CONFIG',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'INVALID_STATE',
  'UNSUPPORTED',
  'BACKEND_UNAVAILABLE',
  'IMAGE_NOT_FOUND',
  'RESOURCE_EXHAUSTED',
  'PERMISSION_DENIED',
  'TIMEOUT',
  'ABORTED',
  'CONFLICT',
  'GUEST_ERROR',
  'BACKEND_ERROR',
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

/** One bad field of an input. `received` is rendered text, or only a type name where the value may be a secret. */
export interface ConfigIssue {
  path: string
  expected: string
  received: string
  /** Of a field that there is not: the path that was probably meant. */
  meant?: string
}

/** What an operator needs beside the message: the machine's last words. */
export interface ErrorEvidence {
  /** The last log lines, oldest first. */
  logTail?: string[]
  /** How the machine ended, when it did. */
  exit?: { code: number | null; signal: string | null; oom: boolean | null }
  /** Endpoints or files that were tried, each with what it answered. */
  tried?: { target: string; result: string }[]
}

export interface VMKitErrorDetails {
  driver?: string
  operation?: string
  vmId?: string
  /** The same call may succeed later without a change by the caller. */
  retryable?: boolean
  /** What the caller can do about it, in one sentence. */
  hint?: string
  /** The capability that is missing (`UNSUPPORTED`). */
  capability?: string
  /** The config field at fault (`INVALID_CONFIG`, `UNSUPPORTED`, `CONFLICT`). */
  field?: string
  issues?: ConfigIssue[]
  evidence?: ErrorEvidence
  cause?: unknown
}

// Two installed copies of core make two classes. The brand lets `instanceof` see through that.
const BRAND = Symbol.for('@vmkit/VMKitError')

/** The one error class of vmkit. Switch on `code`; `message` is for people. */
export class VMKitError extends Error {
  readonly code: ErrorCode
  declare readonly driver?: string
  declare readonly operation?: string
  declare readonly vmId?: string
  readonly retryable: boolean
  declare readonly hint?: string
  declare readonly capability?: string
  declare readonly field?: string
  declare readonly issues?: readonly ConfigIssue[]
  declare readonly evidence?: ErrorEvidence

  constructor(code: ErrorCode, message: string, details: VMKitErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.retryable = details.retryable ?? (code === 'BACKEND_UNAVAILABLE' || code === 'CONFLICT')
    for (const key of DETAIL_KEYS) {
      // Absent details stay absent, so that a printed error shows only what is known.
      if (details[key] !== undefined) Object.defineProperty(this, key, { value: details[key], enumerable: true })
    }
  }

  /** True for a VMKitError of any installed copy of core. Subclasses keep the ordinary meaning of `instanceof`. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    // biome-ignore lint/complexity/noThisInStatic: a subclass must test itself, not VMKitError
    if (this !== VMKitError) return Function.prototype[Symbol.hasInstance].call(this, value)
    try {
      return typeof value === 'object' && value !== null && BRAND in value
    } catch {
      return false // a proxy that refuses
    }
  }

  /** Any thrown value as a VMKitError: an error of ours gains the context it lacks, any other becomes its cause. */
  static from(value: unknown, context: VMKitErrorDetails & { code?: ErrorCode } = {}): VMKitError {
    if (value instanceof VMKitError) return value.with(context)
    const { code = 'BACKEND_ERROR', ...details } = context
    return new VMKitError(code, messageOf(value), { cause: value, ...details })
  }

  /** This error with the details it does not have yet; itself when there is nothing to add. */
  with(details: VMKitErrorDetails): VMKitError {
    const missing = DETAIL_KEYS.some((key) => details[key] !== undefined && this[key] === undefined)
    if (!missing) return this
    const merged: VMKitErrorDetails = { cause: this.cause, retryable: this.retryable }
    for (const key of DETAIL_KEYS) Object.assign(merged, { [key]: this[key] ?? details[key] })
    const copy = new VMKitError(this.code, this.message, merged)
    if (this.stack !== undefined) copy.stack = this.stack
    return copy
  }

  /** A plain object for logs and for crossing process borders; `cause` is reduced to its message. */
  toJSON(): Record<string, unknown> {
    const json: Record<string, unknown> = { name: this.name, code: this.code, message: this.message, retryable: this.retryable }
    for (const key of DETAIL_KEYS) if (this[key] !== undefined) json[key] = this[key]
    if (this.cause !== undefined) json.cause = messageOf(this.cause)
    return json
  }
}

Object.defineProperty(VMKitError.prototype, BRAND, { value: true })
Object.defineProperty(VMKitError.prototype, 'name', { value: 'VMKitError' })

const DETAIL_KEYS = ['driver', 'operation', 'vmId', 'hint', 'capability', 'field', 'issues', 'evidence'] as const

/** What was thrown, as text; anything may be thrown, also what cannot be read. */
export function messageOf(value: unknown): string {
  try {
    return value instanceof Error ? String(value.message) : String(value)
  } catch {
    return 'a value without a text'
  }
}

/** `INVALID_CONFIG` for one field: names it, what was expected and what came. */
export function invalidConfig(path: string, expected: string, received: unknown, details: VMKitErrorDetails = {}): VMKitError {
  return invalidConfigFrom([{ path, expected, received: describeValue(received) }], details)
}

/** `INVALID_CONFIG` for several fields at once. */
export function invalidConfigFrom(issues: ConfigIssue[], details: VMKitErrorDetails = {}): VMKitError {
  const text = issues.map((issue) => `\`${issue.path}\`: expected ${issue.expected}, got ${issue.received}`)
  const meant = issues.flatMap((issue) => (issue.meant === undefined ? [] : [`\`${issue.meant}\``]))
  const hint = details.hint ?? (meant.length > 0 ? `Did you mean ${meant.join(' and ')}?` : undefined)
  return new VMKitError('INVALID_CONFIG', text.join('; '), { field: issues[0]?.path, issues, ...details, hint })
}

const LONGEST_VALUE = 80

/** A value as an error message shows it: short, quoted, with its type; of an object only that it is one. Never call it on a secret. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (typeof value === 'function' || typeof value === 'symbol') return `a ${typeof value}`
  if (typeof value === 'object') return sized(value)
  return `${clip(typeof value === 'string' ? JSON.stringify(value) : String(value))} (${typeof value})`
}

/** Only the kind of a value, for fields that may hold secrets. */
export function typeOf(value: unknown): string {
  if (value === null) return 'null'
  return typeof value === 'object' && isArray(value) ? 'array' : typeof value
}

function isArray(value: object): boolean {
  try {
    return Array.isArray(value)
  } catch {
    return false // a revoked proxy
  }
}

// What is inside an object may be a secret, or answer with an exception.
function sized(value: object): string {
  try {
    const { length } = Object.keys(value)
    if (Array.isArray(value)) return length === 0 ? '[] (array)' : `an array of ${value.length}`
    return length === 0 ? '{} (object)' : 'an object'
  } catch {
    return 'an object'
  }
}

/** Text of a length that fits a message. */
export function clip(text: string): string {
  return text.length <= LONGEST_VALUE ? text : `${text.slice(0, LONGEST_VALUE)}…`
}
