/** Drivers whose code is loaded with the first call: to import one, or to make it, should cost an app little. */
import { CAPABILITIES, CAPABILITY_TABLE, type CapabilityManifest, type ClaimedMethod } from './capabilities.js'
import type { DriverFiles, DriverImages, OptionalDriverMethods, VMDriver } from './driver.js'
import { VMKitError } from './errors.js'
import { REQUIRED_METHODS } from './registry.js'

/** What a driver says of itself. */
export type DriverDescription<C extends CapabilityManifest> = Pick<
  VMDriver<C>,
  'name' | 'apiVersion' | 'capabilities' | 'fields' | 'durability' | 'isolation' | 'guards'
>

/** What a driver does: the life of a machine, and the methods that its claims bring. Of `exec` and `execStream`, the latter. */
export type DriverOperations<C extends CapabilityManifest> = Methods<Everything, Life | ClaimedMethod<C>>

type Life = Exclude<(typeof REQUIRED_METHODS)[number], 'close'>

interface Everything extends Required<VMDriver> {
  files: Required<DriverFiles>
  images: Required<DriverImages>
}

/** A driver of which the compiler knows that it has what it claims. */
export type LazyDriver<C extends CapabilityManifest> = VMDriver<C> & DriverOperations<C>

/**
 * A driver that loads what its methods do with the first call; one that fails to load is tried again by the next. `more` names
 * the methods that no capability brings. `close` loads nothing, and calls after it reject with `INVALID_STATE`.
 */
export function lazyDriver<C extends CapabilityManifest, O extends DriverOperations<C>, M extends PromiseName<O> = never>(
  description: DriverDescription<C>,
  load: () => Promise<O & { close?(): void | Promise<void> }>,
  more: readonly M[] = [],
): LazyDriver<C> & Pick<O, M> {
  let loading: ReturnType<typeof load> | undefined
  let isClosed = false
  const once = async () => {
    if (isClosed) throw new VMKitError('INVALID_STATE', 'The driver was closed', { driver: description.name })
    loading ??= load().catch((error: unknown) => {
      loading = undefined
      throw error
    })
    return loading
  }
  const methods = {
    ...methodsOf(once, [...REQUIRED_METHODS, ...claimedMethods(description.capabilities), ...more]),
    async close() {
      isClosed = true
      const loaded = await loading?.catch(() => undefined)
      await loaded?.close?.()
    },
  }
  return { ...description, ...methods } as unknown as LazyDriver<C> & Pick<O, M>
}

/** Methods of what `load` brings, each of which calls it first. Names within a group are dotted. A stream loads when it is pulled. */
export function deferred<O extends object, M extends MethodName<O>>(load: () => Promise<O>, names: readonly M[]): Methods<O, M> {
  return methodsOf(load, names) as Methods<O, M>
}

/** The methods of `O` by their names, dotted within a group. */
export type Methods<O, M extends string> = Pick<O, M & keyof O> & {
  [G in GroupOf<M> & keyof O]: Pick<O[G], MemberOf<M, G> & keyof O[G]>
}
type GroupOf<M> = M extends `${infer G}.${string}` ? G : never
type MemberOf<M, G> = M extends `${G & string}.${infer N}` ? N : never

type MethodName<O> = { [K in keyof O & string]: O[K] extends AnyMethod ? K : `${K}.${keyof O[K] & string}` }[keyof O & string]
type PromiseName<O> = { [K in keyof O & string]: O[K] extends (...args: never[]) => Promise<unknown> ? K : never }[keyof O & string]
type StreamName<O> = { [K in keyof O & string]-?: O[K] extends (...args: never[]) => AsyncIterable<unknown> ? K : never }[keyof O & string]
type AnyMethod = (...args: never[]) => unknown

/** Those of the contract that give streams. The compiler keeps the list whole. */
type Streams =
  | StreamName<Required<OptionalDriverMethods>>
  | `files.${StreamName<Required<DriverFiles>>}`
  | `images.${StreamName<Required<DriverImages>>}`

const STREAMS: Record<Streams, true> = {
  logs: true,
  events: true,
  exportBundle: true,
  'files.read': true,
  'files.pack': true,
  'images.export': true,
}

/** Where a claim is kept by one of two methods, as `exec` is, another claim brings the better one. */
function claimedMethods(capabilities: CapabilityManifest): Set<string> {
  const claimed = CAPABILITIES.filter((capability) => capabilities[capability])
  return new Set(claimed.flatMap((capability) => CAPABILITY_TABLE[capability].methods).filter((name) => !name.includes('|')))
}

type Method = (...args: unknown[]) => unknown

function methodsOf(load: () => Promise<object>, names: readonly string[]): object {
  const methods: Record<string, Method | Record<string, Method>> = {}
  for (const dotted of names) {
    const [name = '', member] = dotted.split('.')
    const method = deferredMethod(load, dotted)
    methods[name] = member === undefined ? method : { ...methods[name], [member]: method }
  }
  return methods
}

function deferredMethod(load: () => Promise<object>, dotted: string): Method {
  if (!Object.hasOwn(STREAMS, dotted)) return async (...args) => call(await load(), dotted, args)
  return async function* (...args) {
    yield* call(await load(), dotted, args) as AsyncIterable<unknown>
  }
}

function call(operations: object, dotted: string, args: unknown[]): unknown {
  let owner: unknown
  let value: unknown = operations
  for (const key of dotted.split('.')) {
    owner = value
    value = (value as Record<string, unknown>)[key]
  }
  return Reflect.apply(value as Method, owner, args)
}
