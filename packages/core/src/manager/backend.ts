import { CAPABILITIES, type Capability } from '../capabilities.js'
import { refusedField } from '../config/refuse.js'
import type { ConfigField, VMConfig } from '../config/types.js'
import type { CallContext, HostProbe, ListFilter, VMDriver } from '../driver.js'
import { VMKitError } from '../errors.js'
import type { Missing, VMEvent, VMInfo, VMState, VMSummary } from '../machine.js'
import { checkDriver, driversWith } from '../registry.js'
import { type GuardedOperation, legalStates, verdict } from '../states.js'
import { EventBus } from './events.js'
import { KeyedLock, Limiter } from './lock.js'
import { abortError, type Call, type CallOptions, type OperationInfo, runOperation, runStream } from './operation.js'
import { userLabels } from './owner.js'

/** Called around every operation; `before` may veto it by throwing. */
export interface ManagerHooks {
  before?(info: OperationInfo): void | Promise<void>
  after?(info: OperationInfo, error: VMKitError | undefined): void | Promise<void>
}

export interface BackendOptions {
  timeouts: Readonly<Record<string, number>>
  concurrency: number
  hooks: ManagerHooks
}

interface CallSpec<T> {
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
  readonly bus = new EventBus()
  readonly #options: BackendOptions
  readonly #locks = new KeyedLock()
  readonly #limiter: Limiter
  readonly #calls = new Set<Call>()
  readonly #starts = new Map<string, Set<Call>>()
  #probe: Promise<HostProbe> | undefined
  #host: HostProbe | undefined
  #closed = false

  constructor(driver: VMDriver, options: BackendOptions) {
    checkDriver(driver)
    this.driver = driver
    this.#options = options
    this.#limiter = new Limiter(options.concurrency)
  }

  /** What this host allows; asked once, and again while it says that the backend is not there. */
  async probe(options: CallOptions & { refresh?: boolean } = {}): Promise<HostProbe> {
    if (this.#host?.available && !options.refresh) return this.#host
    // Concurrent callers share one probe; the first one's signal ends it for all, so it is not handed on.
    this.#probe ??= this.#run<HostProbe>({ operation: 'probe' }, { timeoutMs: options.timeoutMs }, (ctx) => this.driver.probe(ctx)).finally(
      () => {
        this.#probe = undefined
      },
    )
    this.#host = await this.#probe
    return this.#host
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
    const what = context.field ? `\`${context.field}\` needs \`${capability}\`` : `\`${capability}\``
    return new VMKitError('UNSUPPORTED', `The ${this.driver.name} driver cannot do ${what} here: ${reason}`, {
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
  refuseFields(config: VMConfig): void {
    const error = refusedField(config, this.driver, (capability, field) =>
      capability ? this.#unsupported(capability, { operation: 'create', field: `config.${field}` }) : this.#fieldError(field),
    )
    if (error) throw error
  }

  #fieldError(field: ConfigField): VMKitError {
    return new VMKitError('UNSUPPORTED', `The ${this.driver.name} driver does not honour \`config.${field}\``, {
      driver: this.driver.name,
      operation: 'create',
      field: `config.${field}`,
      hint: 'Leave the field out, or use a driver that honours it',
    })
  }

  /** @throws VMKitError `BACKEND_UNAVAILABLE` with everything that was tried */
  async requireAvailable(options: CallOptions = {}): Promise<void> {
    const probe = await this.probe({ timeoutMs: options.timeoutMs })
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
    const { vmId } = spec
    if (spec.interruptsStart && vmId !== undefined) this.#interruptStart(vmId, spec.operation)
    return this.#run(spec, options, async (ctx) => {
      if (!spec.exclusive) return this.#guarded(spec, ctx, run)
      const limited = () => this.#limiter.run(ctx.signal, () => this.#guarded(spec, ctx, run))
      return vmId === undefined ? limited() : this.#locks.run(vmId, ctx.signal, limited)
    })
  }

  #interruptStart(vmId: string, by: string): void {
    const error = abortError({ driver: this.driver.name, operation: 'start', vmId }, `${by} was called`)
    for (const call of this.#starts.get(vmId) ?? []) call.abort(error)
  }

  async #guarded<T>(spec: CallSpec<T>, ctx: CallContext, run: (ctx: CallContext) => Promise<T>): Promise<T> {
    if (spec.guard && spec.vmId !== undefined) {
      const { state } = await this.driver.getStatus(spec.vmId, ctx)
      const answer = verdict(spec.guard, state)
      if (answer === 'done') return undefined as T
      if (answer === 'no') throw stateError(spec.guard, state)
    }
    return run(ctx)
  }

  async #run<T>(spec: CallSpec<T>, options: CallOptions | undefined, run: (ctx: CallContext) => Promise<T>): Promise<T> {
    const info = this.#info(spec)
    const { before, after } = this.#options.hooks
    let call: Call | undefined
    try {
      if (this.#closed) throw closedError(info)
      await before?.(info)
      const value = await runOperation(
        info,
        { signal: options?.signal, onProgress: options?.onProgress, timeoutMs: this.#timeout(spec, options) },
        run,
        {
          onLateResult: spec.onLateResult,
          onCall: (started) => {
            call = started
            this.#track(started, spec)
          },
        },
      )
      await after?.(info, undefined)
      return value
    } catch (error) {
      const typed = VMKitError.from(error, info)
      await after?.(info, typed)
      throw typed
    } finally {
      if (call) this.#untrack(call, spec)
    }
  }

  #track(call: Call, spec: CallSpec<never>): void {
    this.#calls.add(call)
    if (spec.operation !== 'start' || spec.vmId === undefined) return
    const starts = this.#starts.get(spec.vmId) ?? new Set()
    this.#starts.set(spec.vmId, starts.add(call))
  }

  #untrack(call: Call, spec: CallSpec<never>): void {
    this.#calls.delete(call)
    const starts = spec.operation === 'start' && spec.vmId !== undefined ? this.#starts.get(spec.vmId) : undefined
    if (starts?.delete(call) && starts.size === 0) this.#starts.delete(spec.vmId as string)
  }

  /** A stream of the driver, ended by the caller, by the signal, or when the manager closes. */
  stream<T>(
    spec: Pick<CallSpec<never>, 'operation' | 'vmId'>,
    signal: AbortSignal | undefined,
    open: (ctx: CallContext) => AsyncIterable<T>,
  ): AsyncIterableIterator<T> {
    const info = this.#info(spec)
    const guardedOpen = (ctx: CallContext): AsyncIterable<T> => {
      if (this.#closed) throw closedError(info)
      return open(ctx)
    }
    return runStream(info, signal, guardedOpen, (call) => {
      this.#calls.add(call)
      return () => this.#calls.delete(call)
    })
  }

  async list(filter: ListFilter, options?: CallOptions): Promise<VMSummary[]> {
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

  /** Tells readers of events, unless the backend does that itself. */
  emit(event: VMEvent): void {
    if (this.missingReason('events') !== undefined) this.bus.emit(event)
  }

  events(signal?: AbortSignal): AsyncIterableIterator<VMEvent> {
    return this.stream({ operation: 'events' }, signal, (ctx) => {
      const { events } = this.driver
      return events && this.missingReason('events') === undefined ? events.call(this.driver, ctx) : this.bus.subscribe(ctx.signal)
    })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const call of this.#calls) call.abort(closedError({ driver: this.driver.name, operation: 'close' }))
    await this.driver.close()
  }

  #info(spec: Pick<CallSpec<never>, 'operation' | 'vmId'>): OperationInfo {
    return { driver: this.driver.name, operation: spec.operation, ...(spec.vmId === undefined ? {} : { vmId: spec.vmId }) }
  }

  #timeout(spec: CallSpec<never>, options: CallOptions | undefined): number {
    const { timeouts } = this.#options
    const fallback =
      timeouts[spec.operation] ?? DEFAULT_TIMEOUTS[spec.operation] ?? timeouts.default ?? (DEFAULT_TIMEOUTS.default as number)
    return options?.timeoutMs ?? spec.timeoutMs ?? fallback
  }
}

/** A summary without vmkit's own labels. */
export function presentable<T extends VMSummary>(summary: T): T {
  return { ...summary, labels: userLabels(summary.labels) }
}

function matches(summary: VMSummary, filter: ListFilter): boolean {
  if (filter.name !== undefined && summary.name !== filter.name) return false
  if (filter.states && !filter.states.includes(summary.state)) return false
  return Object.entries(filter.labels ?? {}).every(([key, value]) => summary.labels[key] === value)
}

function stateError(operation: GuardedOperation, state: VMState): VMKitError {
  return new VMKitError(
    'INVALID_STATE',
    `Cannot ${operation} a machine that is \`${state}\`; it must be ${legalStates(operation).join(' or ')}`,
    {
      hint: operation === 'delete' ? 'Stop it first, or pass { force: true }' : undefined,
    },
  )
}

function closedError(info: OperationInfo): VMKitError {
  return new VMKitError('ABORTED', 'The manager is closed', info)
}
