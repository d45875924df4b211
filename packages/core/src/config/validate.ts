import { closest } from '../closest.js'
import { type ConfigIssue, clip, describeValue, invalidConfigFrom, typeOf, VMKitError, type VMKitErrorDetails } from '../errors.js'
import type { ZodMiniType } from '../schema.js'

export interface ValidateOptions extends VMKitErrorDetails {
  /** What the paths in messages start with, such as `config`. */
  root: string
  /** Whether the value at this path may be a secret, so that messages tell only its type. */
  isSecret?: (path: readonly PropertyKey[]) => boolean
}

/**
 * The value as the schema returns it.
 * @throws VMKitError `INVALID_CONFIG` with one issue per bad field
 */
export function validate<T>(schema: ZodMiniType<T>, value: unknown, options: ValidateOptions): T {
  const { root, isSecret = () => false, ...details } = options
  const known: KnownFields = new Map()
  let issues: ConfigIssue[]
  try {
    const result = schema.safeParse(value, { error: (issue) => void keepFields(issue, known) })
    if (result.success) return result.data
    issues = result.error.issues.flatMap((issue) => toIssues(issue as Issue, { value, root, isSecret, known }))
  } catch (error) {
    throw unreadable(root, error, details)
  }
  throw invalidConfigFrom(issues, details)
}

/** A getter or proxy of the caller threw while its value was read. */
export function unreadable(path: string, cause: unknown, details: VMKitErrorDetails = {}): VMKitError {
  return invalidConfigFrom([{ path, expected: 'plain data', received: 'a value that throws when read' }], { cause, ...details })
}

/** By the list of unknown keys, the fields that there are: zod tells the schema while it makes an issue, and not in it. */
type KnownFields = Map<unknown, readonly string[]>

function keepFields(issue: { code?: string; keys?: unknown; inst?: { _zod: { def: object } } }, known: KnownFields): void {
  const { shape } = (issue.inst?._zod.def ?? {}) as { shape?: object }
  if (issue.code === 'unrecognized_keys' && shape) known.set(issue.keys, Object.keys(shape))
}

interface Input {
  value: unknown
  root: string
  isSecret: (path: readonly PropertyKey[]) => boolean
  known: KnownFields
}

interface Issue {
  code: string
  path: PropertyKey[]
  message: string
  expected?: string
  keys?: string[]
  values?: unknown[]
  options?: string[]
  minimum?: number
  maximum?: number
  divisor?: number
  errors?: Issue[][]
  issues?: Issue[]
}

function toIssues(issue: Issue, input: Input): ConfigIssue[] {
  const { value, root, isSecret, known } = input
  if (issue.code === 'unrecognized_keys') {
    return (issue.keys ?? []).map((key) => {
      const meant = closest(key, known.get(issue.keys) ?? [])
      const path = (name: string): string => pathText(root, [...issue.path, name])
      return { path: path(key), expected: 'no such field', received: 'one', ...(meant === undefined ? {} : { meant: path(meant) }) }
    })
  }
  const at = valueAt(value, issue.path)
  // A union of texts and objects: the branch that went deepest names the field the user meant.
  const inner = issue.code === 'invalid_union' && typeof at === 'object' ? deepest(issue.errors) : undefined
  if (inner) return inner.flatMap((found) => toIssues({ ...found, path: [...issue.path, ...found.path] }, input))
  const secret = isSecret(issue.path)
  const shown = issue.code === 'invalid_key' ? issue.path.at(-1) : at
  return [
    {
      path: pathText(root, secret ? issue.path.map(withoutValue) : issue.path),
      expected: expectation(issue),
      received: secret ? typeOf(shown) : describeValue(shown),
    },
  ]
}

/** A name such as `TOKEN=abc`, given where `{ TOKEN: 'abc' }` was meant, holds the secret itself. */
function withoutValue(key: PropertyKey): PropertyKey {
  return typeof key === 'string' ? (key.split('=')[0] as string) : key
}

function deepest(branches: Issue[][] | undefined): Issue[] | undefined {
  const nested = branches?.filter((issues) => issues.some((issue) => issue.path.length > 0 || issue.code === 'unrecognized_keys'))
  return nested?.[0]
}

// zod/mini ships without a locale: its own message means that the schema gave none.
function expectation(issue: Issue): string {
  if (issue.message !== 'Invalid input') return issue.message
  switch (issue.code) {
    case 'invalid_type':
      return article(issue.expected ?? 'another type')
    case 'invalid_value':
      return `one of ${(issue.values ?? []).map((value) => JSON.stringify(value)).join(', ')}`
    case 'invalid_union':
      return issue.options
        ? `one of ${issue.options.map((value) => JSON.stringify(value)).join(', ')}`
        : (issue.errors ?? []).map((branch) => branch.map(expectation).join(' and ')).join(' or ')
    case 'invalid_key':
      return (issue.issues ?? []).map(expectation).join(' and ')
    case 'too_small':
      return `at least ${issue.minimum}`
    case 'too_big':
      return `at most ${issue.maximum}`
    default:
      return 'a valid value'
  }
}

function article(type: string): string {
  if (type === 'record') return 'an object'
  if (type === 'never' || type === 'undefined') return 'nothing'
  return `${/^[aeiou]/.test(type) ? 'an' : 'a'} ${type}`
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (typeof inner === 'object' && inner !== null ? (inner as Record<PropertyKey, unknown>)[key] : undefined),
    value,
  )
}

function pathText(root: string, path: readonly PropertyKey[]): string {
  return [root, ...path.map((key) => clip(String(key)))].filter((part) => part !== '').join('.')
}

/** Runs a check that throws a VMKitError, inside a schema: its expectation becomes the schema's issue. */
export function expectationOf(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (error) {
    if (error instanceof VMKitError) return error.issues?.[0]?.expected ?? error.message
    throw error
  }
}
