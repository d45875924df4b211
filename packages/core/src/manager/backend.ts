import type { Capability } from '../capabilities.js'
import type { CallContext, HostProbe, ListFilter, MachineRef, VMDriver } from '../driver.js'
import { type ErrorCode, VMKitError } from '../errors.js'
import type { MachineEvent, VMEvent, VMInfo, VMState, VMSummary } from '../machine.js'
import { checkDriver } from '../registry.js'
import { type GuardedOperation, legalStates, verdict } from '../states.js'
import { BackendEvents, ofMachine } from './backend-events.js'
import { hooked, type ManagerHooks, notify, withVeto } from './hooks.js'
import { Host } from './host.js'
import type { KnownMachine, NewNames, TargetMachine } from './known-machine.js'
import { KeyedLock, Limiter } from './lock.js'
import {
  ABANDON_AFTER_MS,
  abortError,
  type Call,
  type CallOptions,
  type OperationContext,
  type OperationInfo,
  runOperation,
  runStream,
  type StreamCall,
} from './operation.js'
import { userLabels } from './owner.js'
import { timeoutOf } from './timeouts.js'
import { settledWithin } from './timer.js'

export interface BackendOptions {
  timeouts: Readonly<Record<string, number>>
  concurrency: number
  hooks: ManagerHooks
}

export interface CallSpec<T> {
  operation: string
  machine?: TargetMachine
  /** Capability it needs. */
  needs?: Capability
  /** Row of the state table to check first. */
  guard?: GuardedOperation
  /** One at a time per machine, and counted against the manager's concurrency. */
  exclusive?: boolean
  /** The name it gives the machine: nobody acts under that one meanwhile either. */
  newName?: string
  /** Does not wait for a start that may never end: aborts it. */
  interruptsStart?: boolean
  /** For an operation that takes as long as its caller says. */
  timeoutMs?: number
  onLateResult?: (value: T) => void
}

/** One driver instance under a manager: everything that stands between a handle's method and the driver's. */
export class Backend {
  readonly driver: VMDriver
  /** What the app calls it: two instances of one driver have two names. */
  readonly name: string
  readonly host: Host
  readonly events: BackendEvents
  readonly names: NewNames = new Map()
  readonly #options: BackendOptions
  readonly #locks = new KeyedLock()
  readonly #limiter: Limiter
  readonly #calls = new Map<Call, Promise<unknown>>()
  readonly #streams = new Set<StreamCall>()
  readonly #quietStreams = new Set<StreamCall>()
  readonly #starts = new Map<Call, TargetMachine>()
  readonly #cleanups = new Set<Promise<void>>()
  #closed = false

  constructor(driver: VMDriver, options: BackendOptions, name?: string) {
    checkDriver(driver)
    this.driver = driver
    this.name = name ?? driver.name
    this.#options = options
    this.#limiter = new Limiter(options.concurrency)
    this.host = new Host(driver, this.name, (probe) => this.#run<HostProbe>({ operation: 'probe' }, undefined, probe))
    this.events = new BackendEvents(driver, this.name, this.host)
  }

  /** The one way to a driver's method. */
  async call<T>(spec: CallSpec<T>, options: CallOptions | undefined, run: (ctx: CallContext) => Promise<T>): Promise<T> {
    const { operation, machine, needs } = spec
    if (needs) this.host.require(needs, { operation, vmId: machine?.id, machine: machine?.missing })
    if (!spec.exclusive) return this.#run(spec, options, (ctx) => this.#guarded(spec, ctx, run))
    return this.#run(spec, options, (ctx) => {
      const limited = () => this.#limiter.run(ctx, () => this.#guarded(spec, ctx, run))
      if (!machine) return limited()
      if (spec.interruptsStart) this.#interruptStart(machine, operation)
      return this.#inTurn(machine, spec.newName, ctx, limited)
    })
  }

  /** Under the lock of the machine's name, which may be another one by the time its turn comes. */
  async #inTurn<T>(machine: TargetMachine, newName: string | undefined, ctx: OperationContext, run: () => Promise<T>): Promise<T> {
    for (;;) {
      const { name } = machine
      const checked = async () => (machine.name === name ? { value: await run() } : undefined)
      const turn = await this.#locked(name, newName, ctx, checked)
      if (turn) return turn.value
    }
  }

  #locked<T>(name: string, newName: string | undefined, ctx: OperationContext, run: () => Promise<T>): Promise<T> {
    if (newName === undefined || newName === name) return this.#locks.run(name, ctx, run)
    // In one order for all: two that want each other's name must not wait for each other.
    const [first, second] = name < newName ? [name, newName] : [newName, name]
    return this.#locks.run(first, ctx, () => this.#locks.run(second, ctx, run))
  }

  #interruptStart({ id, name }: TargetMachine, by: string): void {
    for (const [call, machine] of this.#starts) {
      if (machine.name === name) call.abort(abortError({ driver: this.name, operation: 'start', vmId: id }, `${by} was called`))
    }
  }

  async #guarded<T>({ guard, machine }: CallSpec<T>, ctx: OperationContext, run: (ctx: CallContext) => Promise<T>): Promise<T> {
    if (!guard || !machine) return run(ctx)
    // Whoever tells the events must know whether there was anything to do, so it looks first.
    if (this.driver.guards?.includes(guard) && !this.events.areOurs) return this.#refusable(guard, machine, ctx, run)
    if ((await this.#verdict(guard, machine, ctx)) === 'done') return undefined as T
    if (ctx.ended) throw ctx.ended
    return run(ctx)
  }

  /** Where the backend is the guard: the state is asked for to explain its refusal. */
  async #refusable<T>(guard: GuardedOperation, machine: TargetMachine, ctx: OperationContext, run: (ctx: CallContext) => Promise<T>) {
    try {
      return await run(ctx)
    } catch (refusal) {
      if (ctx.ended || !(refusal instanceof VMKitError && REFUSALS.has(refusal.code))) throw refusal
      if ((await this.#verdict(guard, machine, ctx, refusal)) === 'go') throw refusal
      return undefined as T
    }
  }

  /** @throws VMKitError `INVALID_STATE` with the state in it */
  async #verdict(guard: GuardedOperation, { id }: TargetMachine, ctx: CallContext, cause?: VMKitError): Promise<'go' | 'done'> {
    const { state } = await this.driver.getStatus(id, ctx).catch((error: unknown) => {
      // The machine went, and what comes after its removal was refused: that is to be told.
      throw guard === 'delete' && cause && cause.code !== 'NOT_FOUND' ? cause : error
    })
    const answer = verdict(guard, state)
    if (answer === 'no') throw stateError(guard, state, id, cause)
    return answer
  }

  async #run<T>(spec: CallSpec<T>, options: CallOptions | undefined, run: (ctx: OperationContext) => Promise<T>): Promise<T> {
    const info = this.#info(spec)
    const { before, after } = this.#options.hooks
    let call: Call | undefined
    let error: VMKitError | undefined
    try {
      if (this.#closed) throw closedError(info)
      const limits = { signal: options?.signal, onProgress: options?.onProgress, timeoutMs: this.#timeout(spec, options) }
      const running = runOperation(info, limits, withVeto(before, info, run), {
        onLateResult: spec.onLateResult,
        onCall: (started) => {
          call = started
        },
      })
      if (call) this.#track(call, running, spec)
      return await running
    } catch (cause) {
      error = VMKitError.from(cause, info)
      throw error
    } finally {
      if (call) this.#untrack(call)
      if (after) await notify(after, info, error)
    }
  }

  #track(call: Call, running: Promise<unknown>, { operation, machine }: CallSpec<never>): void {
    this.#calls.set(call, running)
    if (operation === 'start' && machine) this.#starts.set(call, machine)
  }

  #untrack(call: Call): void {
    this.#calls.delete(call)
    this.#starts.delete(call)
  }

  /** A stream of the driver, ended by the caller, by the signal, or when the manager closes. */
  stream<T>(
    spec: Pick<CallSpec<never>, 'operation' | 'machine'> & { endsQuietly?: boolean },
    signal: AbortSignal | undefined,
    open: (ctx: CallContext) => AsyncIterable<T>,
  ): AsyncIterableIterator<T> {
    const info = this.#info(spec)
    const { before, after } = this.#options.hooks
    const guardedOpen = (ctx: CallContext): AsyncIterable<T> => {
      if (this.#closed) throw closedError(info)
      return before || after ? hooked(this.#options.hooks, info, () => open(ctx)) : open(ctx)
    }
    return runStream(info, signal, guardedOpen, (call) => {
      const streams = spec.endsQuietly ? this.#quietStreams : this.#streams
      streams.add(call)
      return () => streams.delete(call)
    })
  }

  async list(filter: ListFilter, options?: CallOptions): Promise<VMSummary[]> {
    await this.host.requireAvailable(options)
    const all = await this.call<VMSummary[]>({ operation: 'list' }, options, (ctx) => this.driver.list(filter, ctx))
    return all.filter((summary) => matches(summary, filter))
  }

  /** The machine of this id or name. @throws VMKitError `NOT_FOUND` */
  async find(idOrName: string, options?: CallOptions): Promise<VMInfo> {
    return this.call<VMInfo>({ operation: 'get' }, options, async (ctx) => this.driver.getInfo(await this.#idOf(idOrName, ctx), ctx))
  }

  async #idOf(idOrName: string, ctx: CallContext): Promise<string> {
    if (this.driver.find) return this.driver.find(idOrName, ctx)
    const named = await this.driver.list({ name: idOrName }, ctx)
    return named.find((summary) => summary.name === idOrName)?.id ?? idOrName
  }

  /** What apps see of a machine's data: the name they use for the driver, and no labels of vmkit's own. */
  present<T extends VMSummary>(summary: T): T {
    return { ...summary, driver: this.name, labels: userLabels(summary.labels) }
  }

  /** A machine that came after its maker was told it would not: it must not stay. */
  deleteLate(ref: MachineRef): void {
    const cleanup = (async () => {
      await this.driver.delete(ref.id, { force: true }, unhurried())
    })()
      // Nobody waits for it any more; what is left over is for sweep().
      .catch(() => {})
      .finally(() => this.#cleanups.delete(cleanup))
    this.#cleanups.add(cleanup)
  }

  /** What happens from the first pull on, to one machine or to all. Ends with the manager. */
  readEvents(signal?: AbortSignal): AsyncIterableIterator<VMEvent> {
    return this.stream({ operation: 'events', endsQuietly: true }, signal, (ctx) => this.events.open(ctx))
  }

  readMachineEvents(machine: KnownMachine, signal?: AbortSignal): AsyncIterableIterator<MachineEvent> {
    return this.stream({ operation: 'events', machine, endsQuietly: true }, signal, (ctx) =>
      ofMachine(this.events.open(ctx), (event) => machine.isMeantBy(event)),
    )
  }

  /** Aborts what is in flight, and waits until the driver has cleaned up after it or is given up on. */
  async interrupt(): Promise<void> {
    const error = closedError({ driver: this.name, operation: 'close' })
    for (const stream of [...this.#streams]) stream.abort(error)
    for (const call of [...this.#calls.keys()]) call.abort(error)
    await Promise.allSettled(this.#calls.values())
    await settledWithin(ABANDON_AFTER_MS, Promise.all(this.#cleanups))
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.interrupt()
    for (const stream of [...this.#quietStreams]) stream.end()
    await this.driver.close()
  }

  #info({ operation, machine }: Pick<CallSpec<never>, 'operation' | 'machine'>): OperationInfo {
    return machine ? { driver: this.name, operation, vmId: machine.id } : { driver: this.name, operation }
  }

  #timeout({ operation, timeoutMs }: CallSpec<never>, options: CallOptions | undefined): number {
    return options?.timeoutMs ?? timeoutMs ?? timeoutOf(operation, this.#options.timeouts)
  }
}

// A machine that is gone is asked for as well: its successor may be known.
const REFUSALS: ReadonlySet<ErrorCode> = new Set(['INVALID_STATE', 'CONFLICT', 'NOT_FOUND'])

/** A context for what must be done although its caller has gone. */
export function unhurried(): CallContext {
  return { signal: new AbortController().signal, deadline: undefined, report: () => {} }
}

function matches(summary: VMSummary, filter: ListFilter): boolean {
  if (filter.name !== undefined && summary.name !== filter.name) return false
  if (filter.states && !filter.states.includes(summary.state)) return false
  return Object.entries(filter.labels ?? {}).every(([key, value]) => summary.labels[key] === value)
}

function stateError(operation: GuardedOperation, state: VMState, vmId: string, cause: VMKitError | undefined): VMKitError {
  return new VMKitError(
    'INVALID_STATE',
    `Cannot ${operation} a machine that is \`${state}\`; it must be ${legalStates(operation)
      .filter((legal) => legal !== 'unknown')
      .join(' or ')}`,
    {
      vmId,
      ...(cause ? { cause } : {}),
      hint: operation === 'delete' ? 'Stop it first, or pass { force: true }' : undefined,
    },
  )
}

function closedError(info: OperationInfo): VMKitError {
  return new VMKitError('ABORTED', 'The manager is closed', info)
}
