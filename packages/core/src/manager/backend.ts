import { CAPABILITIES, type Capability } from '../capabilities.js'
import { refusedField } from '../config/refuse.js'
import type { MachineConfig } from '../config/types.js'
import type { CallContext, HostProbe, ListFilter, MachineRef, VMDriver } from '../driver.js'
import { VMKitError } from '../errors.js'
import type { MachineEvent, Missing, VMEvent, VMInfo, VMState, VMSummary } from '../machine.js'
import { checkDriver, driversWith } from '../registry.js'
import { type GuardedOperation, legalStates, verdict } from '../states.js'
import { EventBus } from './events.js'
import { hooked, type ManagerHooks, notify, withVeto } from './hooks.js'
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
import { abortable, settledWithin } from './timer.js'

export interface BackendOptions {
  timeouts: Readonly<Record<string, number>>
  concurrency: number
  hooks: ManagerHooks
}

export interface CallSpec<T> {
  operation: string
  vmId?: string
  /** Capability it needs. */
  needs?: Capability
  /** Row of the state table to check first. */
  guard?: GuardedOperation
  /** One at a time per machine, and counted against the manager's concurrency. */
  exclusive?: boolean
  /** Does not wait for a start that may never end: aborts it. */
  interruptsStart?: boolean
  /** For an operation that takes as long as its caller says. */
  timeoutMs?: number
  onLateResult?: (value: T) => void
}

// Milliseconds. What waits for the guest, or streams, has no deadline of its own.
const DEFAULT_TIMEOUTS: Readonly<Record<string, number>> = {
  default: 60_000,
  probe: 15_000,
  create: 600_000,
  pull: 1_800_000,
  build: 1_800_000,
  import: 1_800_000,
  snapshot: 600_000,
  restore: 600_000,
  clone: 600_000,
  migrate: 3_600_000,
  importBundle: 3_600_000,
  wait: Number.POSITIVE_INFINITY,
  exec: Number.POSITIVE_INFINITY,
}

/** One driver instance under a manager: everything that stands between a handle's method and the driver's. */
export class Backend {
  readonly driver: VMDriver
  /** What the app calls it: two instances of one driver have two names. */
  readonly name: string
  readonly bus = new EventBus()
  readonly #options: BackendOptions
  readonly #locks = new KeyedLock()
  readonly #limiter: Limiter
  readonly #calls = new Map<Call, Promise<unknown>>()
  readonly #streams = new Set<StreamCall>()
  readonly #quietStreams = new Set<StreamCall>()
  readonly #starts = new Map<string, Set<Call>>()
  readonly #cleanups = new Set<Promise<void>>()
  #probe: Promise<HostProbe> | undefined
  #host: HostProbe | undefined
  #closed = false

  constructor(driver: VMDriver, options: BackendOptions, name?: string) {
    checkDriver(driver)
    this.driver = driver
    this.name = name ?? driver.name
    this.#options = options
    this.#limiter = new Limiter(options.concurrency)
  }

  /** What this host allows; asked once, and again while it says that the backend is not there. */
  async probe(options: CallOptions & { refresh?: boolean } = {}): Promise<HostProbe> {
    if (this.#host?.available && !options.refresh) return this.#host
    // Concurrent callers share one probe, so it does not listen to any one's signal; each waits as long as it wants.
    const shared = this.#sharedProbe()
    if (options.signal === undefined && options.timeoutMs === undefined) return shared
    const timeoutMs = options.timeoutMs ?? Number.POSITIVE_INFINITY
    return runOperation({ driver: this.name, operation: 'probe' }, { signal: options.signal, timeoutMs }, (ctx) =>
      abortable(shared, ctx.signal),
    )
  }

  #sharedProbe(): Promise<HostProbe> {
    if (!this.#probe) {
      this.#probe = this.#run<HostProbe>({ operation: 'probe' }, undefined, async (ctx) => {
        this.#host = await this.driver.probe(ctx)
        return this.#host
      }).finally(() => {
        this.#probe = undefined
      })
      // When all who asked have left, nobody hears of a failure.
      this.#probe.catch(() => {})
    }
    return this.#probe
  }

  /** The last probe, for what must be synchronous. Every way to a handle has probed before. */
  get host(): HostProbe | undefined {
    return this.#host
  }

  /** Why a capability is missing, for the host or for one machine; `undefined` when it is there. */
  missingReason(capability: Capability, machine?: Missing): string | undefined {
    const { name, capabilities } = this.driver
    const reason = this.#host?.missing[capability] ?? machine?.[capability]
    if (!capabilities[capability]) return reason ?? `the ${name} driver does not have it`
    return reason
  }

  /** Every capability that is not there, with the reason. */
  missing(machine?: Missing): Missing {
    const entries = CAPABILITIES.map((capability) => [capability, this.missingReason(capability, machine)] as const)
    return Object.fromEntries(entries.filter(([, reason]) => reason !== undefined))
  }

  /** @throws VMKitError `UNSUPPORTED` with the reason, and who could do it */
  require(capability: Capability, context: Partial<OperationInfo> & { field?: string; machine?: Missing } = {}): void {
    const error = this.#unsupported(capability, context)
    if (error) throw error
  }

  #unsupported(capability: Capability, context: Partial<OperationInfo> & { field?: string; machine?: Missing }): VMKitError | undefined {
    const reason = this.missingReason(capability, context.machine)
    if (reason === undefined) return undefined
    const { machine: _machine, ...details } = context
    const others = driversWith(capability).filter((name) => name !== this.driver.name)
    const what = context.field ? `honour \`${context.field}\`, which needs \`${capability}\`` : `do \`${capability}\``
    return new VMKitError('UNSUPPORTED', `The ${this.driver.name} driver cannot ${what} here: ${reason}`, {
      driver: this.driver.name,
      capability,
      ...details,
      hint:
        others.length > 0
          ? `Registered drivers that have \`${capability}\`: ${others.join(', ')}`
          : `No other registered driver has \`${capability}\``,
    })
  }

  /** @throws VMKitError `UNSUPPORTED` for the first field that nothing here would honour */
  refuseFields(given: Readonly<Record<string, unknown>>, parsed: MachineConfig): void {
    const error = refusedField(given, parsed, this.driver, (capability, field) =>
      capability ? this.#unsupported(capability, { operation: 'create', field: `config.${field}` }) : this.#fieldError(field),
    )
    if (error) throw error
  }

  #fieldError(field: string): VMKitError {
    return new VMKitError('UNSUPPORTED', `The ${this.driver.name} driver does not honour \`config.${field}\``, {
      driver: this.driver.name,
      operation: 'create',
      field: `config.${field}`,
      hint: 'Leave the field out, or use a driver that honours it',
    })
  }

  /** @throws VMKitError `BACKEND_UNAVAILABLE` with everything that was tried */
  async requireAvailable(options: CallOptions = {}): Promise<void> {
    const probe = await this.probe({ timeoutMs: options.timeoutMs, signal: options.signal })
    if (probe.available) return
    throw new VMKitError(
      'BACKEND_UNAVAILABLE',
      `The ${this.driver.name} driver cannot work on this host: ${probe.reason ?? 'its backend does not answer'}`,
      {
        driver: this.driver.name,
        ...(probe.tried ? { evidence: { tried: probe.tried } } : {}),
      },
    )
  }

  /** The one way to a driver's method. */
  async call<T>(
    spec: CallSpec<T>,
    options: CallOptions | undefined,
    machine: Missing | undefined,
    run: (ctx: CallContext) => Promise<T>,
  ): Promise<T> {
    if (spec.needs) this.require(spec.needs, { operation: spec.operation, vmId: spec.vmId, machine })
    if (!spec.exclusive) return this.#run(spec, options, (ctx) => this.#guarded(spec, ctx, run))
    const { vmId } = spec
    return this.#run(spec, options, (ctx) => {
      const limited = () => this.#limiter.run(ctx, () => this.#guarded(spec, ctx, run))
      if (vmId === undefined) return limited()
      if (spec.interruptsStart) this.#interruptStart(vmId, spec.operation)
      return this.#locks.run(vmId, ctx, limited)
    })
  }

  #interruptStart(vmId: string, by: string): void {
    const starts = this.#starts.get(vmId)
    if (!starts) return
    const error = abortError({ driver: this.name, operation: 'start', vmId }, `${by} was called`)
    for (const call of starts) call.abort(error)
  }

  async #guarded<T>(spec: CallSpec<T>, ctx: OperationContext, run: (ctx: CallContext) => Promise<T>): Promise<T> {
    if (spec.guard && spec.vmId !== undefined) {
      const { state } = await this.driver.getStatus(spec.vmId, ctx)
      const answer = verdict(spec.guard, state)
      if (answer === 'done') return undefined as T
      if (answer === 'no') throw stateError(spec.guard, state)
    }
    if (ctx.ended) throw ctx.ended
    return run(ctx)
  }

  async #run<T>(spec: CallSpec<T>, options: CallOptions | undefined, run: (ctx: OperationContext) => Promise<T>): Promise<T> {
    const info = this.#info(spec)
    const { before, after } = this.#options.hooks
    let error: VMKitError | undefined
    try {
      if (this.#closed) throw closedError(info)
      return await this.#track(info, spec, options, withVeto(before, info, run))
    } catch (cause) {
      error = VMKitError.from(cause, info)
      throw error
    } finally {
      if (after) await notify(after, info, error)
    }
  }

  async #track<T>(
    info: OperationInfo,
    spec: CallSpec<T>,
    options: CallOptions | undefined,
    run: (ctx: OperationContext) => Promise<T>,
  ): Promise<T> {
    let call: Call | undefined
    const limits = { signal: options?.signal, onProgress: options?.onProgress, timeoutMs: this.#timeout(spec, options) }
    const running = runOperation(info, limits, run, {
      onLateResult: spec.onLateResult,
      onCall: (started) => {
        call = started
      },
    })
    if (!call) return running
    this.#calls.set(call, running)
    if (spec.operation === 'start') this.#addStart(spec.vmId as string, call)
    try {
      return await running
    } finally {
      this.#calls.delete(call)
      if (spec.operation === 'start') this.#removeStart(spec.vmId as string, call)
    }
  }

  #addStart(vmId: string, call: Call): void {
    const starts = this.#starts.get(vmId) ?? new Set()
    this.#starts.set(vmId, starts.add(call))
  }

  #removeStart(vmId: string, call: Call): void {
    const starts = this.#starts.get(vmId)
    if (starts?.delete(call) && starts.size === 0) this.#starts.delete(vmId)
  }

  /** A stream of the driver, ended by the caller, by the signal, or when the manager closes. */
  stream<T>(
    spec: Pick<CallSpec<never>, 'operation' | 'vmId'> & { endsQuietly?: boolean },
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
    await this.requireAvailable(options)
    const all = await this.call<VMSummary[]>({ operation: 'list' }, options, undefined, (ctx) => this.driver.list(filter, ctx))
    return all.filter((summary) => matches(summary, filter))
  }

  /** The machine of this id or name. @throws VMKitError `NOT_FOUND` */
  async find(idOrName: string, options?: CallOptions): Promise<VMInfo> {
    return this.call<VMInfo>({ operation: 'get' }, options, undefined, async (ctx) =>
      this.driver.getInfo(await this.#idOf(idOrName, ctx), ctx),
    )
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

  /** Tells readers of events, unless the backend does that itself. */
  emit(event: VMEvent): void {
    if (this.missingReason('events') !== undefined) this.bus.emit(event)
  }

  /** What happens from the first pull on, to one machine or to all. Ends with the manager. */
  events(signal?: AbortSignal): AsyncIterableIterator<VMEvent> {
    return this.stream({ operation: 'events', endsQuietly: true }, signal, (ctx) => this.#events(ctx))
  }

  machineEvents(vmId: string, isWanted: (event: MachineEvent) => boolean, signal?: AbortSignal): AsyncIterableIterator<MachineEvent> {
    return this.stream({ operation: 'events', vmId, endsQuietly: true }, signal, (ctx) => ofMachine(this.#events(ctx), isWanted))
  }

  #events(ctx: CallContext): AsyncIterable<VMEvent> {
    // No probe where the manifest is certain: what happens after the first pull must not be missed.
    if (!this.#host && this.driver.capabilities.events !== true) return this.#eventsOnceProbed(ctx)
    const { events } = this.driver
    if (!events || this.missingReason('events') !== undefined) return this.bus.subscribe(ctx.signal)
    const own = events.call(this.driver, ctx)
    return this.name === this.driver.name ? own : renamed(own, this.name)
  }

  async *#eventsOnceProbed(ctx: CallContext): AsyncGenerator<VMEvent> {
    await this.requireAvailable({ signal: ctx.signal })
    yield* this.#events(ctx)
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

  #info(spec: Pick<CallSpec<never>, 'operation' | 'vmId'>): OperationInfo {
    return { driver: this.name, operation: spec.operation, ...(spec.vmId === undefined ? {} : { vmId: spec.vmId }) }
  }

  #timeout(spec: CallSpec<never>, options: CallOptions | undefined): number {
    const { timeouts } = this.#options
    const fallback =
      timeouts[spec.operation] ?? DEFAULT_TIMEOUTS[spec.operation] ?? timeouts.default ?? (DEFAULT_TIMEOUTS.default as number)
    return options?.timeoutMs ?? spec.timeoutMs ?? fallback
  }
}

/** A context for what must be done although its caller has gone. */
export function unhurried(): CallContext {
  return { signal: new AbortController().signal, deadline: undefined, report: () => {} }
}

async function* ofMachine(events: AsyncIterable<VMEvent>, isWanted: (event: MachineEvent) => boolean): AsyncGenerator<MachineEvent> {
  for await (const event of events) if (event.type !== 'image-pulled' && isWanted(event)) yield event
}

async function* renamed(events: AsyncIterable<VMEvent>, driver: string): AsyncGenerator<VMEvent> {
  for await (const event of events) yield { ...event, driver }
}

function matches(summary: VMSummary, filter: ListFilter): boolean {
  if (filter.name !== undefined && summary.name !== filter.name) return false
  if (filter.states && !filter.states.includes(summary.state)) return false
  return Object.entries(filter.labels ?? {}).every(([key, value]) => summary.labels[key] === value)
}

function stateError(operation: GuardedOperation, state: VMState): VMKitError {
  return new VMKitError(
    'INVALID_STATE',
    `Cannot ${operation} a machine that is \`${state}\`; it must be ${legalStates(operation)
      .filter((legal) => legal !== 'unknown')
      .join(' or ')}`,
    {
      hint: operation === 'delete' ? 'Stop it first, or pass { force: true }' : undefined,
    },
  )
}

function closedError(info: OperationInfo): VMKitError {
  return new VMKitError('ABORTED', 'The manager is closed', info)
}
