import type { AnyCapabilities, CapabilityManifest } from '../capabilities.js'
import { positiveInt } from '../config/schema.js'
import type { VMConfig } from '../config/types.js'
import { unreadable } from '../config/validate.js'
import type { ListFilter, VMDriver } from '../driver.js'
import { invalidConfig, messageOf, VMKitError } from '../errors.js'
import type { DriverRegistry } from '../index.js'
import { lazily } from '../lazily.js'
import type { VMEvent, VMSummary } from '../machine.js'
import { findDriver, registeredDrivers } from '../registry.js'
import * as z from '../schema.js'
import { Backend, type BackendOptions } from './backend.js'
import { DriverHandleImpl } from './driver-handle.js'
import type { CreateOptions, DriverExtras, DriverHandle, GetOptions } from './driver-types.js'
import { merge } from './events.js'
import type { ManagerHooks } from './hooks.js'
import { OpenHandles } from './open-handles.js'
import { type CallOptions, runStream } from './operation.js'
import { OPTIONS, readOptions } from './requests.js'
import { type SweptMachine, sweepBackend } from './sweep.js'
import type { StreamOptions, VM } from './vm-types.js'

const DEFAULT_CONCURRENCY = 16

const isFunction = (value: unknown): boolean => typeof value === 'function'
const managerSchema = lazily(() =>
  z.strictObject({
    drivers: z.optional(z.custom<Drivers>((value) => typeof value === 'object' && value !== null, 'an object of drivers by name')),
    defaultDriver: z.optional(z.string()),
    timeouts: z.optional(
      z.record(
        z.string(),
        z.custom<number>((ms) => typeof ms === 'number' && ms > 0, 'a number of milliseconds above 0'),
      ),
    ),
    concurrency: z.optional(positiveInt()),
    hooks: z.optional(
      z.strictObject({
        before: z.optional(z.custom<NonNullable<ManagerHooks['before']>>(isFunction, 'a function')),
        after: z.optional(z.custom<NonNullable<ManagerHooks['after']>>(isFunction, 'a function')),
      }),
    ),
  }),
)
type Drivers = { readonly [name: string]: unknown }
type DriverName<D> = (keyof D | keyof DriverRegistry) & string
type CapabilitiesOf<D, K> = K extends keyof D
  ? D[K] extends VMDriver<infer C>
    ? Known<C>
    : RegisteredCapabilities<K>
  : RegisteredCapabilities<K>
/** Of an instance whose type says nothing of its capabilities, everything must be asked for. */
type Known<C extends CapabilityManifest> = CapabilityManifest extends C ? AnyCapabilities : C
type RegisteredCapabilities<K> = K extends keyof DriverRegistry
  ? DriverRegistry[K] extends { capabilities: infer C extends CapabilityManifest }
    ? C
    : never
  : never
/** Of an instance, or of the registered driver of this name; `unknown` when there are none. */
type ExtrasOf<D, K> = K extends keyof D ? (D[K] extends VMDriver ? Extras<D[K]> : RegisteredExtras<K>) : RegisteredExtras<K>
type RegisteredExtras<K> = K extends keyof DriverRegistry ? Extras<DriverRegistry[K]> : unknown
type Extras<T> = T extends { readonly extras: infer E } ? { readonly extras: DriverExtras<E> } : unknown
type DriverInput<K> = VMDriver | (K extends keyof DriverRegistry ? (DriverRegistry[K] extends { options: infer O } ? O : never) : never)

export interface ManagerOptions<D extends Drivers = Drivers> {
  /** By name: options for a registered driver, or a driver instance under a name of your choice. */
  drivers?: D & { readonly [K in keyof D]: DriverInput<K> }
  /** The driver of `create` calls that name none. Default: the only one there is. */
  defaultDriver?: string
  /** Milliseconds per operation, and `default` for the others; replaces vmkit's own. */
  timeouts?: Readonly<Record<string, number>>
  /** Lifecycle operations that run at a time, per driver. Default 16. */
  concurrency?: number
  hooks?: ManagerHooks
}

/** One place for all machines of an app. Closing it does to each open handle what its `onDispose` says. */
export interface VMManager<D extends Drivers = Drivers> extends AsyncDisposable {
  /** A driver by its name in the types; made on first use, then the same one. */
  driver<K extends DriverName<D>>(name: K): DriverHandle<CapabilitiesOf<D, K>> & ExtrasOf<D, K>
  /** A driver whose name is known only at run time. @throws VMKitError `NOT_FOUND` that says which import is missing */
  lookup(name: string): DriverHandle
  /** The names of all drivers: given in the options, or registered. */
  readonly drivers: readonly string[]

  create<K extends DriverName<D>>(config: VMConfig, options: CreateOptions & { driver: K }): Promise<VM<CapabilitiesOf<D, K>>>
  create(config: VMConfig, options?: CreateOptions & { driver?: undefined }): Promise<VM>
  get<K extends DriverName<D>>(driver: K, idOrName: string, options?: GetOptions): Promise<VM<CapabilitiesOf<D, K>>>
  /** Machines of every driver, or of one. A backend that is down is an error, never a shorter list. */
  list(filter?: ListFilter & { driver?: DriverName<D> }, options?: CallOptions): Promise<VMSummary[]>
  /** What happens to machines, of every driver or of one, from the first pull on. Ends with the manager. */
  events(options?: StreamOptions & { driver?: DriverName<D> }): AsyncIterableIterator<VMEvent>
  /** Deletes what nobody will delete any more; see the guide on clean-up. Engines that are not there are passed over, unless
   * the one that is asked for by name: then it is the error of every other call. */
  sweep(options?: CallOptions & { driver?: DriverName<D> }): Promise<SweptMachine[]>
  close(): Promise<void>
}

/**
 * A manager over the given and the registered drivers. Nothing is loaded or asked before it is used.
 * @throws VMKitError `INVALID_CONFIG` naming the option
 */
export function createManager<const D extends Drivers = Record<never, never>>(options: ManagerOptions<D> = {}): VMManager<D> {
  return new Manager(options as ManagerOptions) as unknown as VMManager<D>
}

interface Entry {
  backend: Backend
  handle: DriverHandle
}

class Manager {
  readonly #given: Drivers
  readonly #backendOptions: BackendOptions
  readonly #defaultDriver: string | undefined
  readonly #entries = new Map<string, Entry>()
  readonly #handles = new OpenHandles()
  #closing: Promise<void> | undefined

  constructor(given: ManagerOptions) {
    const { drivers = {}, concurrency = DEFAULT_CONCURRENCY, timeouts = {}, hooks = {}, defaultDriver } = readOptions(managerSchema, given)
    this.#given = drivers
    this.#backendOptions = { timeouts, concurrency, hooks }
    this.#defaultDriver = defaultDriver
  }

  get drivers(): readonly string[] {
    return [...new Set([...Object.keys(this.#given), ...registeredDrivers().map((module) => module.name)])]
  }

  driver(name: string): DriverHandle {
    return this.#entry(name).handle
  }

  lookup(name: string): DriverHandle {
    return this.#entry(name).handle
  }

  #entry(name: string): Entry {
    return this.#entries.get(name) ?? this.#open(name)
  }

  #open(name: string): Entry {
    if (typeof name !== 'string' || name === '') throw invalidConfig('driver', 'the name of a driver', name)
    if (this.#closing) throw new VMKitError('ABORTED', 'The manager is closed', { driver: name })
    const backend = this.#makeBackend(name)
    const entry: Entry = { backend, handle: new DriverHandleImpl(backend, this.#handles) as unknown as DriverHandle }
    this.#entries.set(name, entry)
    return entry
  }

  #makeBackend(name: string): Backend {
    try {
      const given = Object.hasOwn(this.#given, name) ? this.#given[name] : undefined
      const driver = isDriver(given)
        ? given
        : (findDriver(name, this.drivers) as { create(options: unknown): VMDriver }).create(given ?? {})
      return new Backend(driver, this.#backendOptions, name)
    } catch (error) {
      throw VMKitError.from(error, { driver: name })
    }
  }

  async create(config: VMConfig, options?: CreateOptions & { driver?: string }): Promise<VM> {
    const { driver = this.#onlyDriver(), rest } = takeDriver(options, 'options')
    return this.driver(driver).create(config, rest)
  }

  #onlyDriver(): string {
    const names = this.drivers
    const name = this.#defaultDriver ?? (names.length === 1 ? names[0] : undefined)
    if (name !== undefined) return name
    throw invalidConfig(
      'options.driver',
      names.length === 0 ? "a driver; none is there: import one, such as '@vmkit/process'" : `one of ${names.join(', ')}`,
      undefined,
    )
  }

  async get(driver: string, idOrName: string, options?: GetOptions): Promise<VM> {
    return this.driver(driver).get(idOrName, options)
  }

  async list(filter?: ListFilter & { driver?: string }, options?: CallOptions): Promise<VMSummary[]> {
    const { driver, rest } = takeDriver(filter, 'filter')
    const lists = await Promise.all(this.#chosen(driver).map(({ handle }) => handle.list(rest, options)))
    return lists.flat()
  }

  events(options?: StreamOptions & { driver?: string }): AsyncIterableIterator<VMEvent> {
    const { driver, rest } = takeDriver(options, 'options')
    const { signal } = readOptions(OPTIONS.stream, rest)
    const chosen = this.#chosen(driver)
    return runStream(
      { driver: driver ?? 'all', operation: 'events' },
      signal,
      (ctx) => merge(chosen.map(({ backend }) => backend.readEvents(ctx.signal))),
      () => () => {},
    )
  }

  async sweep(options?: CallOptions & { driver?: string }): Promise<SweptMachine[]> {
    const { driver, rest } = takeDriver(options, 'options')
    const call = readOptions(OPTIONS.call, rest)
    const sweepOne = async ({ backend }: Entry): Promise<SweptMachine[]> => {
      // A sweep at the start of an app must not fail for an engine that is not there; asked for by name, it does.
      if (driver === undefined && !(await backend.host.probe(call)).available) return []
      return sweepBackend(backend, call)
    }
    return (await Promise.all(this.#chosen(driver).map(sweepOne))).flat()
  }

  #chosen(driver: string | undefined): Entry[] {
    return (driver === undefined ? this.drivers : [driver]).map((name) => this.#entry(name))
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const errors: unknown[] = []
    const attempt = (task: () => PromiseLike<void>) => (async () => task())().catch((error: unknown) => void errors.push(error))
    const backends = [...this.#entries.values()].map(({ backend }) => backend)
    this.#handles.cancelExpiries()
    // First what is in flight, so that no create comes through after the handles were disposed of.
    await Promise.all(backends.map((backend) => attempt(() => backend.interrupt())))
    await Promise.all([...this.#handles].map((vm) => attempt(() => vm[Symbol.asyncDispose]())))
    await Promise.all(backends.map((backend) => attempt(() => backend.close())))
    if (errors.length === 1) throw VMKitError.from(errors[0], { operation: 'close' })
    if (errors.length > 1) throw closeError(errors)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** The driver that a call names, apart from what the driver's own handle checks. */
function takeDriver<T extends object>(
  value: (T & { driver?: string }) | undefined,
  field: string,
): { driver?: string; rest: T | undefined } {
  if (value === undefined) return { rest: undefined }
  if (typeof value !== 'object' || value === null) throw invalidConfig(field, 'an object', value)
  try {
    const { driver, ...rest } = value
    return { driver, rest: rest as T }
  } catch (error) {
    throw unreadable(field, error)
  }
}

function isDriver(value: unknown): value is VMDriver {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as VMDriver).probe === 'function' &&
    typeof (value as VMDriver).create === 'function'
  )
}

function closeError(errors: unknown[]): VMKitError {
  const cause = new AggregateError(errors, 'Not everything could be disposed of')
  const { code } = VMKitError.from(errors[0])
  return new VMKitError(code, `${cause.message}: ${errors.map(messageOf).join('; ')}`, { operation: 'close', cause })
}
