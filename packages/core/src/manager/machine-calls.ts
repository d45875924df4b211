import type { Capability } from '../capabilities.js'
import type { CallContext, VMDriver } from '../driver.js'
import { VMKitError } from '../errors.js'
import type { VMExit, VMStatus } from '../machine.js'
import type { Backend, CallSpec } from './backend.js'
import type { KnownMachine } from './known-machine.js'
import type { CallOptions } from './operation.js'

type PlainEvent = 'started' | 'paused' | 'resumed' | 'deleted' | 'resized'
type OwnEvent =
  | { type: PlainEvent }
  | { type: 'stopped'; exit: VMExit }
  | { type: 'snapshotted' | 'restored'; tag: string }
  | { type: 'renamed'; from: string }
type Spec<T> = Omit<CallSpec<T>, 'operation' | 'machine' | 'exclusive'>
type Run<T> = (id: string, ctx: CallContext) => Promise<T>

// How a machine ended that nobody can ask any more.
const UNKNOWN_EXIT: VMExit = { code: null, signal: null, oom: null, reason: 'unknown', at: null }

/** How the methods of a handle reach the driver. Each asks for the machine's id when its turn comes. */
export class MachineCalls {
  readonly backend: Backend
  readonly driver: VMDriver
  readonly machine: KnownMachine

  constructor(backend: Backend, machine: KnownMachine) {
    this.backend = backend
    this.driver = backend.driver
    this.machine = machine
  }

  call<T>(operation: string, spec: Spec<T>, options: CallOptions | undefined, run: Run<T>): Promise<T> {
    const { machine } = this
    return this.backend.call<T>({ operation, machine, ...spec }, options, (ctx) => run(machine.id, ctx))
  }

  /** One at a time per machine. Tells of `event` when the driver was called, so not where there was nothing to do. */
  async exclusive<T>(
    operation: string,
    spec: Spec<T> & { event?: PlainEvent | 'stopped' },
    options: CallOptions | undefined,
    run: Run<T>,
  ): Promise<T> {
    const { machine } = this
    const { event } = spec
    let ran = false
    const value = await this.backend.call<T>({ operation, machine, exclusive: true, ...spec }, options, (ctx) => {
      ran = true
      return run(machine.id, ctx)
    })
    if (!ran || !event) return value
    if (event === 'stopped') await this.#emitStopped()
    else this.emit({ type: event })
    return value
  }

  stream<T>(
    operation: string,
    signal: AbortSignal | undefined,
    open: (id: string, ctx: CallContext) => AsyncIterable<T>,
  ): AsyncIterableIterator<T> {
    const { machine } = this
    return this.backend.stream({ operation, machine }, signal, (ctx) => open(machine.id, ctx))
  }

  /** @throws VMKitError `UNSUPPORTED` */
  require(capability: Capability, operation: string, field?: string): void {
    const { id, missing } = this.machine
    this.backend.host.require(capability, { operation, vmId: id, machine: missing, ...(field ? { field } : {}) })
  }

  missingReason(capability: Capability): string | undefined {
    return this.backend.host.missingReason(capability, this.machine.missing)
  }

  /** An optional method or group of the driver. @throws VMKitError `BACKEND_ERROR` when a capability was claimed without it */
  method<K extends keyof VMDriver>(name: K): NonNullable<VMDriver[K]> {
    return bound(this.driver[name], this.driver, name)
  }

  emit(event: OwnEvent): void {
    const { backend, machine } = this
    backend.events.emit({ driver: backend.name, id: machine.id, name: machine.name, at: Date.now(), ...event })
  }

  async #emitStopped(): Promise<void> {
    if (!this.backend.events.areOurs) return
    const status = await this.call<VMStatus>('status', {}, undefined, (id, ctx) => this.driver.getStatus(id, ctx)).catch(() => undefined)
    this.emit({ type: 'stopped', exit: status?.exit ?? UNKNOWN_EXIT })
  }
}

/** A method that may be passed on. @throws VMKitError `BACKEND_ERROR` when it is not there */
export function bound<T>(method: T | undefined, owner: object, name: string): NonNullable<T> {
  if (method === undefined || method === null) throw new VMKitError('BACKEND_ERROR', `The driver claims ${name} and has no such method`)
  return (typeof method === 'function' ? method.bind(owner) : method) as NonNullable<T>
}
