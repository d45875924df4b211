/** What callers pass beside a config. All of it is checked, and copied, before anything is done with it. */
import { CAPABILITIES, type Capability, isCapability } from '../capabilities.js'
import { closest } from '../closest.js'
import {
  absolutePath,
  anyText,
  command,
  cpus,
  device,
  duration,
  env,
  labels,
  memory,
  mode,
  name,
  nonEmpty,
  port,
  positiveInt,
  reference,
  signal as signalName,
  user,
  wholeNumber,
} from '../config/schema.js'
import { validate } from '../config/validate.js'
import { invalidConfig, type VMKitErrorDetails } from '../errors.js'
import { lazily } from '../lazily.js'
import type { Progress, VMState } from '../machine.js'
import * as z from '../schema.js'
import { STATES } from '../states.js'
import type { Stdin } from './vm-types.js'

const flag = lazily(() => z.optional(z.boolean()))
const isFunction = (value: unknown): boolean => typeof value === 'function'
const milliseconds = lazily(() => z.custom<number>((value) => typeof value === 'number' && value >= 0, 'a number of milliseconds from 0'))
const interval = lazily(() => z.custom<number>((value) => typeof value === 'number' && value > 0, 'a number of milliseconds above 0'))
const signal = lazily(() => z.custom<AbortSignal>(isAbortSignal, 'an AbortSignal'))
const policy = lazily(() => z.enum(['delete', 'stop', 'detach']))
const onDispose = lazily(() => z.optional(policy()))

const stream = lazily(() => ({ signal: z.optional(signal()) }))
const call = lazily(() => ({
  ...stream(),
  timeoutMs: z.optional(milliseconds()),
  onProgress: z.optional(z.custom<(progress: Progress) => void>(isFunction, 'a function')),
}))
const execRequest = lazily(() => ({
  env: z.optional(env()),
  workdir: z.optional(absolutePath()),
  user: z.optional(user()),
  tty: z.optional(z.strictObject({ columns: positiveInt(), rows: positiveInt() })),
}))
const input = lazily(() => z.custom<Stdin>(isInput, 'a text, a Uint8Array or an async iterable of Uint8Arrays'))
const bytesInput = lazily(() =>
  z.custom<Exclude<Stdin, string>>(
    (value) => typeof value !== 'string' && isInput(value),
    'a Uint8Array or an async iterable of Uint8Arrays',
  ),
)
const since = lazily(() =>
  z.custom<Date | number>((value) => {
    return (typeof value === 'number' || value instanceof Date) && Number.isFinite(Number(value))
  }, 'a Date or milliseconds since the epoch'),
)
const path = nonEmpty
const text = nonEmpty

/** The options of each kind of call. */
export const OPTIONS = {
  call: lazily(() => z.strictObject(call())),
  stream: lazily(() => z.strictObject(stream())),
  dispose: lazily(() => z.strictObject({ ...call(), onDispose: onDispose() })),
  probe: lazily(() => z.strictObject({ ...call(), refresh: flag() })),
  stop: lazily(() => z.strictObject({ ...call(), graceMs: z.optional(duration()), signalName: z.optional(signalName()) })),
  delete: lazily(() => z.strictObject({ ...call(), force: flag() })),
  metrics: lazily(() => z.strictObject({ ...stream(), intervalMs: z.optional(interval()) })),
  logs: lazily(() =>
    z.strictObject({
      ...stream(),
      follow: flag(),
      tail: z.optional(wholeNumber()),
      since: z.optional(since()),
      after: z.optional(text()),
      sources: z.optional(z.array(z.enum(['stdout', 'stderr', 'console']))),
    }),
  ),
  snapshot: lazily(() => z.strictObject({ ...call(), memory: flag() })),
  named: lazily(() => z.strictObject({ ...call(), name: z.optional(name()), onDispose: onDispose() })),
  migrate: lazily(() => z.strictObject({ ...call(), live: flag() })),
  exec: lazily(() =>
    z.strictObject({
      ...execRequest(),
      ...stream(),
      stdin: z.optional(input()),
      timeoutMs: z.optional(milliseconds()),
      maxOutputBytes: z.optional(positiveInt()),
    }),
  ),
  execStream: lazily(() => z.strictObject({ ...execRequest(), ...call(), stdin: flag() })),
  write: lazily(() => z.strictObject({ ...call(), mode: z.optional(mode()) })),
  pull: lazily(() =>
    z.strictObject({
      ...call(),
      policy: z.optional(z.enum(['always', 'missing'])),
      platform: z.optional(reference()),
      auth: z.optional(z.union([z.strictObject({ username: text(), password: anyText() }), z.strictObject({ token: text() })])),
    }),
  ),
  import: lazily(() => z.strictObject({ ...call(), reference: z.optional(reference()) })),
  labelled: lazily(() => z.strictObject({ ...call(), labels: z.optional(labels()) })),
  waitFor: lazily(() =>
    z
      .strictObject({
        ...stream(),
        timeoutMs: z.optional(milliseconds()),
        intervalMs: z.optional(interval()),
        port: z.optional(port()),
        log: z.optional(z.union([text(), z.instanceof(RegExp)], 'a text or a RegExp')),
        healthy: z.optional(z.literal(true)),
        exec: z.optional(command()),
        until: z.optional(z.custom<(signal: AbortSignal) => boolean | Promise<boolean>>(isFunction, 'a function')),
      })
      .check(
        z.refine(
          (value) => CONDITIONS.filter((key) => value[key] !== undefined).length === 1,
          `one of ${'`port`, `log`, `healthy`, `exec`, `until`'}`,
        ),
      ),
  ),
}

const CONDITIONS = ['port', 'log', 'healthy', 'exec', 'until'] as const

/** Arguments that are no options. */
export const ARGUMENTS = {
  command,
  device,
  name,
  path,
  reference,
  signal: signalName,
  port,
  id: text,
  input,
  bytesInput,
  filter: lazily(() =>
    z.strictObject({
      name: z.optional(text()),
      labels: z.optional(z.record(z.string(), z.string())),
      states: z.optional(z.array(z.enum(STATES as readonly [VMState, ...VMState[]]))),
    }),
  ),
  limits: lazily(() => z.strictObject({ cpus: z.optional(cpus()), memory: z.optional(memory()), pids: z.optional(positiveInt()) })),
  build: lazily(() =>
    z.strictObject({
      context: absolutePath(),
      tag: reference(),
      dockerfile: z.optional(text()),
      args: z.optional(env()),
      target: z.optional(reference()),
    }),
  ),
}

const SECRETS: ReadonlySet<PropertyKey> = new Set(['env', 'auth', 'stdin', 'args'])

/**
 * The caller's options, read once.
 * @throws VMKitError `INVALID_CONFIG` naming the option
 */
export function readOptions<T>(schema: () => z.ZodMiniType<T>, value: unknown, details: VMKitErrorDetails = {}): T {
  return value === undefined ? ({} as T) : readArgument(schema, value, 'options', details)
}

/** @throws VMKitError `INVALID_CONFIG` naming the argument */
export function readArgument<T>(schema: () => z.ZodMiniType<T>, value: unknown, field: string, details: VMKitErrorDetails = {}): T {
  return validate(schema(), value, { root: field, isSecret: (at) => SECRETS.has(at[0] as PropertyKey), ...details })
}

export function readCapability(value: unknown): Capability {
  if (typeof value === 'string' && isCapability(value)) return value
  const meant = typeof value === 'string' ? closest(value, CAPABILITIES) : undefined
  const hint = meant === undefined ? undefined : `Did you mean \`${meant}\`?`
  throw invalidConfig('capability', 'a capability that core knows', value, { hint })
}

function isAbortSignal(value: unknown): boolean {
  const candidate = value as Partial<AbortSignal> | null
  return typeof value === 'object' && typeof candidate?.aborted === 'boolean' && typeof candidate.addEventListener === 'function'
}

function isInput(value: unknown): boolean {
  if (typeof value === 'string' || value instanceof Uint8Array) return true
  return (
    typeof value === 'object' && value !== null && typeof (value as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator] === 'function'
  )
}
