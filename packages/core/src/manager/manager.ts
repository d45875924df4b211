import type { CapabilityManifest } from '../capabilities.js'
import type { VMConfig } from '../config/types.js'
import type { ListFilter, MachineRef, VMDriver } from '../driver.js'
import { invalidConfig, VMKitError } from '../errors.js'
import type { DriverRegistry } from '../index.js'
import type { VMEvent, VMSummary } from '../machine.js'
import { findDriver, registeredDrivers } from '../registry.js'
import { Backend, type ManagerHooks } from './backend.js'
import { DriverHandleImpl } from './driver-handle.js'
import type { CreateOptions, DriverHandle, GetOptions } from './driver-types.js'
import { merge } from './events.js'
import type { CallOptions } from './operation.js'
import type { DisposePolicy } from './owner.js'
import { type SweptMachine, sweepBackend } from './sweep.js'
import { MachineHandle } from './vm.js'
import type { StreamOptions, VM } from './vm-types.js'

const DEFAULT_CONCURRENCY = 16
// The longest delay of a Node timer; a longer ttl is left to sweep().
const LONGEST_TIMER_MS = 2 ** 31 - 1

type Drivers = { readonly [name: string]: unknown }
type DriverName<D> = (keyof D | keyof DriverRegistry) & string
type CapabilitiesOf<D, K> = K extends keyof D ? (D[K] extends VMDriver<infer C> ? C : RegisteredCapabilities<K>) : RegisteredCapabilities<K>
type RegisteredCapabilities<K> = K extends keyof DriverRegistry
  ? DriverRegistry[K] extends { capabilities: infer C extends CapabilityManifest }
    ? C
    : never
  : never
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
  driver<K extends DriverName<D>>(name: K): DriverHandle<CapabilitiesOf<D, K>>
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
  /** Deletes what nobody will delete any more; see the guide on clean-up. */
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
  readonly #options: ManagerOptions
  readonly #concurrency: number
  readonly #entries = new Map<string, Entry>()
  readonly #handles = new Set<VM>()
  readonly #expiries = new Map<VM, NodeJS.Timeout>()
  #closing: Promise<void> | undefined

  constructor(options: ManagerOptions) {
    if (typeof options !== 'object' || options === null) throw invalidConfig('options', 'an object', options)
    const { drivers = {}, concurrency = DEFAULT_CONCURRENCY } = options
    if (!Number.isSafeInteger(concurrency) || concurrency < 1)
      throw invalidConfig('options.concurrency', 'a whole number from 1', concurrency)
    if (typeof drivers !== 'object' || drivers === null) throw invalidConfig('options.drivers', 'an object of drivers by name', drivers)
    for (const [operation, ms] of Object.entries(options.timeouts ?? {})) {
      if (typeof ms !== 'number' || !(ms > 0)) throw invalidConfig(`options.timeouts.${operation}`, 'a number of milliseconds above 0', ms)
    }
    this.#given = drivers
    this.#options = options
    this.#concurrency = concurrency
  }

  get drivers(): readonly string[] {
    return [...new Set([...Object.keys(this.#given), ...registeredDrivers().map((module) => module.name)])]
  }

  driver(name: string): DriverHandle {
    return (this.#entries.get(name) ?? this.#open(name)).handle
  }

  lookup(name: string): DriverHandle {
    return this.driver(name)
  }

  #open(name: string): Entry {
    if (this.#closing) throw new VMKitError('ABORTED', 'The manager is closed', { driver: name })
    const given = Object.hasOwn(this.#given, name) ? this.#given[name] : undefined
    const driver = isDriver(given) ? given : (findDriver(name) as { create(options: unknown): VMDriver }).create(given ?? {})
    const { timeouts = {}, hooks = {} } = this.#options
    const backend = new Backend(driver, { timeouts, concurrency: this.#concurrency, hooks })
    const entry: Entry = { backend, handle: new DriverHandleImpl(backend, this) as unknown as DriverHandle }
    this.#entries.set(name, entry)
    return entry
  }

  async create(config: VMConfig, options: CreateOptions & { driver?: string } = {}): Promise<VM> {
    const { driver = this.#defaultDriver(), ...rest } = options
    return this.driver(driver).create(config, rest)
  }

  #defaultDriver(): string {
    const names = this.drivers
    const name = this.#options.defaultDriver ?? (names.length === 1 ? names[0] : undefined)
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

  async list(filter: ListFilter & { driver?: string } = {}, options?: CallOptions): Promise<VMSummary[]> {
    const { driver, ...rest } = filter
    const lists = await Promise.all(this.#names(driver).map((name) => this.driver(name).list(rest, options)))
    return lists.flat()
  }

  events(options: StreamOptions & { driver?: string } = {}): AsyncIterableIterator<VMEvent> {
    const controller = new AbortController()
    const signal = options.signal ? AbortSignal.any([options.signal, controller.signal]) : controller.signal
    const merged = merge(this.#names(options.driver).map((name) => this.driver(name).events({ signal })))[Symbol.asyncIterator]()
    return {
      [Symbol.asyncIterator]() {
        return this
      },
      next: () => merged.next(),
      async return() {
        controller.abort()
        await merged.return?.()
        return { done: true, value: undefined }
      },
    }
  }

  async sweep(options: CallOptions & { driver?: string } = {}): Promise<SweptMachine[]> {
    const { driver, ...rest } = options
    const swept = await Promise.all(
      this.#names(driver).map((name) => {
        this.driver(name)
        return sweepBackend((this.#entries.get(name) as Entry).backend, rest)
      }),
    )
    return swept.flat()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const errors: unknown[] = []
    for (const timer of this.#expiries.values()) clearTimeout(timer)
    this.#expiries.clear()
    const attempt = async (task: () => PromiseLike<void>): Promise<void> => {
      try {
        await task()
      } catch (error) {
        errors.push(error)
      }
    }
    await Promise.all([...this.#handles].map((vm) => attempt(() => vm[Symbol.asyncDispose]())))
    await Promise.all([...this.#entries.values()].map(({ backend }) => attempt(() => backend.close())))
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new AggregateError(errors, 'Not everything could be disposed of')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // — for handles —

  adopt(backend: Backend, ref: MachineRef & { name: string }, policy: DisposePolicy): VM {
    const vm = new MachineHandle(backend, this, ref, policy) as unknown as VM
    if (policy !== 'detach') this.#handles.add(vm)
    return vm
  }

  forget(vm: object): void {
    this.#handles.delete(vm as VM)
    clearTimeout(this.#expiries.get(vm as VM))
    this.#expiries.delete(vm as VM)
  }

  expire(vm: VM, ttl: number): void {
    if (ttl > LONGEST_TIMER_MS) return
    // A failure here is made good by the next sweep.
    const timer = setTimeout(() => void vm.delete({ force: true }).catch(() => {}), ttl)
    this.#expiries.set(vm, timer.unref())
  }

  #names(driver: string | undefined): readonly string[] {
    return driver === undefined ? this.drivers : [driver]
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
