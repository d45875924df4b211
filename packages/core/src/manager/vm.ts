import { randomUUID } from 'node:crypto'
import { type Capability, isCapability } from '../capabilities.js'
import { parseName } from '../config/parse.js'
import { cpus, device, duration, memory } from '../config/schema.js'
import type { DeviceConfig, Duration, Size } from '../config/types.js'
import { validate } from '../config/validate.js'
import type { CallContext, MachineRef } from '../driver.js'
import { invalidConfig, VMKitError } from '../errors.js'
import type {
  ExecResult,
  ExecSession,
  LogEntry,
  LogOptions,
  MachineEvent,
  Missing,
  SnapshotInfo,
  TerminalSession,
  VMExit,
  VMInfo,
  VMMetrics,
  VMStatus,
  VncEndpoint,
} from '../machine.js'
import * as z from '../schema.js'
import { type Backend, presentable } from './backend.js'
import type { DriverHandle } from './driver-types.js'
import { exec, execStream, toChunks } from './exec.js'
import { machineFiles } from './files.js'
import { migrate } from './migrate.js'
import type { CallOptions } from './operation.js'
import { type DisposePolicy, ownerLabels } from './owner.js'
import type {
  Endpoint,
  ExecOptions,
  ExecStreamOptions,
  MigrateOptions,
  MigrationResult,
  SnapshotOptions,
  StopCallOptions,
  StreamOptions,
  VM,
  VMFiles,
  WaitForOptions,
} from './vm-types.js'
import { waitFor } from './wait-for.js'

const LOG_TAIL = 20
const STOP_MARGIN_MS = 30_000

const stopSchema = z.object({ graceMs: z.optional(duration), signalName: z.optional(z.string()) })
const resizeSchema = z.strictObject({
  cpus: z.optional(cpus),
  memory: z.optional(memory),
  pids: z.optional(z.number().check(z.refine((value) => Number.isSafeInteger(value) && value > 0, 'a whole number from 1'))),
})

/** Who keeps handles: the manager, which disposes of those that are still open when it closes. */
export interface HandleOwner {
  adopt(backend: Backend, ref: MachineRef & { name: string }, policy: DisposePolicy): VM
  forget(vm: object): void
}

/**
 * The one implementation of every VM type. All methods exist at run time; the types show those that a manifest promises,
 * and a call of another is refused with the reason.
 */
export class MachineHandle {
  readonly name: string
  readonly onDispose: DisposePolicy
  readonly #backend: Backend
  readonly #owner: HandleOwner
  #id: string
  #missing: Missing | undefined
  #files: VMFiles | undefined

  constructor(backend: Backend, owner: HandleOwner, ref: MachineRef & { name: string }, onDispose: DisposePolicy) {
    this.#backend = backend
    this.#owner = owner
    this.#id = ref.id
    this.#missing = ref.missing
    this.name = ref.name
    this.onDispose = onDispose
  }

  get id(): string {
    return this.#id
  }

  get driver(): string {
    return this.#backend.driver.name
  }

  get missing(): Missing {
    return this.#backend.missing(this.#missing)
  }

  supports(capability: Capability): boolean {
    if (!isCapability(capability)) throw invalidConfig('capability', 'a capability that core knows', capability)
    return this.#backend.missingReason(capability, this.#missing) === undefined
  }

  async start(options?: CallOptions): Promise<void> {
    await this.#exclusive('start', { guard: 'start' }, options, (id, ctx) => this.#backend.driver.start(id, ctx), 'started')
  }

  async stop(options: StopCallOptions = {}): Promise<void> {
    const { graceMs } = validate(stopSchema, options, { root: 'options', operation: 'stop', vmId: this.#id })
    const signal = options.signalName === undefined ? undefined : checkSignal(options.signalName)
    const timeoutMs = graceMs === undefined ? undefined : graceMs + STOP_MARGIN_MS
    let stopped = false
    await this.#exclusive('stop', { guard: 'stop', interruptsStart: true, timeoutMs }, options, async (id, ctx) => {
      await this.#backend.driver.stop(id, { graceMs, signal }, ctx)
      stopped = true
    })
    if (stopped) await this.#emitStopped()
  }

  async restart(options: StopCallOptions = {}): Promise<void> {
    await this.stop(options)
    await this.start({ signal: options.signal, timeoutMs: options.timeoutMs, onProgress: options.onProgress })
  }

  async kill(signal = 'SIGKILL', options?: CallOptions): Promise<void> {
    const name = checkSignal(signal)
    await this.#exclusive('kill', { guard: 'kill', interruptsStart: true }, options, (id, ctx) => this.#backend.driver.kill(id, name, ctx))
  }

  async delete(options: CallOptions & { force?: boolean } = {}): Promise<void> {
    const force = options.force ?? false
    const spec = { guard: force ? undefined : ('delete' as const), interruptsStart: true }
    await this.#exclusive('delete', spec, options, (id, ctx) => this.#backend.driver.delete(id, { force }, ctx), 'deleted')
    this.#owner.forget(this)
  }

  status(options?: CallOptions): Promise<VMStatus> {
    return this.#call('status', {}, options, (id, ctx) => this.#backend.driver.getStatus(id, ctx))
  }

  async info(options?: CallOptions): Promise<VMInfo> {
    return presentable(await this.#call<VMInfo>('info', {}, options, (id, ctx) => this.#backend.driver.getInfo(id, ctx)))
  }

  metrics(options?: CallOptions): Promise<VMMetrics> {
    return this.#call('metrics', {}, options, (id, ctx) => this.#backend.driver.getMetrics(id, ctx))
  }

  watchMetrics(options: StreamOptions & { intervalMs?: number } = {}): AsyncIterableIterator<VMMetrics> {
    const { intervalMs = 1000 } = options
    if (!Number.isFinite(intervalMs) || intervalMs <= 0)
      throw invalidConfig('options.intervalMs', 'a number of milliseconds above 0', intervalMs)
    const id = this.#id
    return this.#backend.stream({ operation: 'watchMetrics', vmId: id }, options.signal, (ctx) =>
      readings(this.#backend, id, intervalMs, ctx),
    )
  }

  wait(options?: CallOptions): Promise<VMExit> {
    return this.#call('wait', {}, options, (id, ctx) => this.#backend.driver.wait(id, ctx))
  }

  waitFor(condition: WaitForOptions): Promise<void> {
    return waitFor(this.#waitable(), condition)
  }

  async endpoint(port: number, options?: CallOptions): Promise<Endpoint> {
    if (!Number.isInteger(port) || port < 1 || port > 65535) throw invalidConfig('port', 'a port from 1 to 65535', port)
    const info = await this.info(options)
    const published =
      info.ports.find((mapping) => mapping.guest === port && mapping.protocol === 'tcp') ??
      info.ports.find((mapping) => mapping.guest === port)
    if (published) return { host: reachable(published.hostIp), port: published.host }
    const [address] = info.addresses
    if (address !== undefined) return { host: address, port }
    throw new VMKitError(
      'NOT_FOUND',
      `Port ${port} of ${this.name} is not reachable: it is not published, and this host has no route to the machine (state ${info.state})`,
      {
        driver: this.driver,
        operation: 'endpoint',
        vmId: this.#id,
        hint: `Create it with ports: [{ guest: ${port} }]`,
      },
    )
  }

  async *#machineEvents(signal: AbortSignal | undefined): AsyncGenerator<MachineEvent> {
    for await (const event of this.#backend.events(signal)) {
      if (event.type !== 'image-pulled' && (event.id === this.#id || event.name === this.name)) yield event
    }
  }

  events(options?: StreamOptions): AsyncIterableIterator<MachineEvent> {
    return this.#backend.stream({ operation: 'events', vmId: this.#id }, options?.signal, (ctx) => this.#machineEvents(ctx.signal))
  }

  async pause(options?: CallOptions): Promise<void> {
    await this.#exclusive('pause', { needs: 'pause', guard: 'pause' }, options, (id, ctx) => this.#method('pause')(id, ctx), 'paused')
  }

  async resume(options?: CallOptions): Promise<void> {
    await this.#exclusive('resume', { needs: 'pause', guard: 'resume' }, options, (id, ctx) => this.#method('resume')(id, ctx), 'resumed')
  }

  async exec(command: readonly string[], options?: ExecOptions): Promise<ExecResult> {
    return exec(this.#backend, this.#machine(), command, options)
  }

  async execStream(command: readonly string[], options?: ExecStreamOptions): Promise<ExecSession> {
    return execStream(this.#backend, this.#machine(), command, options)
  }

  logs(options: LogOptions & StreamOptions = {}): AsyncIterableIterator<LogEntry> {
    const { signal, ...request } = options
    this.#require('logs', 'logs')
    if (request.since !== undefined) this.#require('logs.since', 'logs', 'since')
    checkLogOptions(request)
    return this.#stream('logs', signal, (id, ctx) => this.#method('logs')(id, request, ctx))
  }

  attach(options?: CallOptions): Promise<TerminalSession> {
    return this.#call('attach', { needs: 'attach', guard: 'attach', onLateResult: closeLate }, options, (id, ctx) =>
      this.#method('attach')(id, ctx),
    )
  }

  console(options?: CallOptions): Promise<TerminalSession> {
    return this.#call('console', { needs: 'console', guard: 'attach', onLateResult: closeLate }, options, (id, ctx) =>
      this.#method('console')(id, ctx),
    )
  }

  vnc(options?: CallOptions): Promise<VncEndpoint> {
    return this.#call('vnc', { needs: 'vnc', guard: 'attach' }, options, (id, ctx) => this.#method('vnc')(id, ctx))
  }

  screenshot(options?: CallOptions): Promise<Uint8Array> {
    return this.#call('screenshot', { needs: 'vnc', guard: 'attach' }, options, (id, ctx) => this.#method('screenshot')(id, ctx))
  }

  get files(): VMFiles {
    this.#files ??= machineFiles(this.#backend, () => this.#machine())
    return this.#files
  }

  copyOut(path: string, options: StreamOptions = {}): AsyncIterableIterator<Uint8Array> {
    this.#require('files.archive', 'copyOut')
    const files = this.#method('files')
    return this.#stream('copyOut', options.signal, (id, ctx) => bound(files.pack, files, 'files.pack')(id, path, ctx))
  }

  copyIn(path: string, tar: Uint8Array | AsyncIterable<Uint8Array>, options?: CallOptions): Promise<void> {
    return this.#call('copyIn', { needs: 'files.archive' }, options, (id, ctx) => {
      const files = this.#method('files')
      return bound(files.unpack, files, 'files.unpack')(id, path, toChunks(tar), ctx)
    })
  }

  async resize(limits: { cpus?: number; memory?: Size; pids?: number }, options?: CallOptions): Promise<void> {
    const request = validate(resizeSchema, limits, { root: 'limits', operation: 'resize', vmId: this.#id })
    await this.#exclusive(
      'resize',
      { needs: 'resize', guard: 'resize' },
      options,
      (id, ctx) => this.#method('resize')(id, request, ctx),
      'resized',
    )
  }

  attachDevice(config: DeviceConfig, options?: CallOptions): Promise<string> {
    return this.#exclusive('attachDevice', { needs: 'devices', guard: 'devices' }, options, async (id, ctx) => {
      const parsed = validate(device, config, { root: 'device' })
      return this.#method('attachDevice')(id, parsed, ctx)
    })
  }

  async detachDevice(deviceId: string, options?: CallOptions): Promise<void> {
    await this.#exclusive('detachDevice', { needs: 'devices', guard: 'devices' }, options, (id, ctx) =>
      this.#method('detachDevice')(id, parseName(deviceId, 'deviceId'), ctx),
    )
  }

  async snapshot(tag: string, options: SnapshotOptions = {}): Promise<SnapshotInfo> {
    const name = parseName(tag, 'tag')
    const memory = options.memory ?? false
    const spec = { needs: memory ? ('snapshot.memory' as const) : ('snapshot.disk' as const), guard: 'snapshot' as const }
    const info = await this.#exclusive('snapshot', spec, options, (id, ctx) => this.#method('snapshot')(id, name, { memory }, ctx))
    this.#emit({ type: 'snapshotted', tag: name })
    return info
  }

  async restore(tag: string, options?: CallOptions): Promise<void> {
    const name = parseName(tag, 'tag')
    const ref = await this.#exclusive('restore', { needs: this.#anySnapshot(), guard: 'restore' }, options, (id, ctx) =>
      this.#method('restore')(id, name, ctx),
    )
    this.#id = ref.id
    this.#missing = ref.missing ?? this.#missing
    this.#emit({ type: 'restored', tag: name })
  }

  snapshots(options?: CallOptions): Promise<SnapshotInfo[]> {
    return this.#call('listSnapshots', { needs: this.#anySnapshot() }, options, (id, ctx) => this.#method('listSnapshots')(id, ctx))
  }

  async deleteSnapshot(tag: string, options?: CallOptions): Promise<void> {
    const name = parseName(tag, 'tag')
    await this.#exclusive('deleteSnapshot', { needs: this.#anySnapshot() }, options, (id, ctx) =>
      this.#method('deleteSnapshot')(id, name, ctx),
    )
  }

  async clone(tag: string, options: { name?: string; onDispose?: DisposePolicy } & CallOptions = {}): Promise<VM> {
    const from = parseName(tag, 'tag')
    const name =
      options.name === undefined ? `${this.name.slice(0, 50)}-${randomUUID().slice(0, 8)}` : parseName(options.name, 'options.name')
    const policy = options.onDispose ?? 'delete'
    const spec = { needs: 'clone' as const, guard: 'clone' as const, onLateResult: (ref: MachineRef) => deleteLate(this.#backend, ref) }
    const ref = await this.#exclusive('clone', spec, options, (id, ctx) =>
      this.#method('clone')(id, { tag: from, name, labels: ownerLabels(policy, undefined) }, ctx),
    )
    return this.#owner.adopt(this.#backend, { ...ref, name }, policy)
  }

  async migrate(target: DriverHandle, options: MigrateOptions = {}): Promise<MigrationResult> {
    const result = await migrate(this.#backend, { id: this.#id, missing: this.#missing, onDispose: this.onDispose }, target, options)
    this.#owner.forget(this)
    return result
  }

  exportBundle(options: StreamOptions = {}): AsyncIterableIterator<Uint8Array> {
    this.#require('bundle', 'exportBundle')
    return this.#stream('exportBundle', options.signal, (id, ctx) => this.#method('exportBundle')(id, ctx))
  }

  /** Does what `onDispose` says. A machine that is gone already is fine. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#owner.forget(this)
    try {
      if (this.onDispose === 'delete') await this.delete({ force: true })
      if (this.onDispose === 'stop') await this.stop()
    } catch (error) {
      if (!(error instanceof VMKitError && error.code === 'NOT_FOUND')) throw error
    }
  }

  // — how methods reach the driver —

  #machine(): { id: string; missing?: Missing } {
    return { id: this.#id, missing: this.#missing }
  }

  #call<T>(
    operation: string,
    spec: Spec<T>,
    options: CallOptions | undefined,
    run: (id: string, ctx: CallContext) => Promise<T>,
  ): Promise<T> {
    const id = this.#id
    return this.#backend.call<T>({ operation, vmId: id, ...spec }, options, this.#missing, (ctx) => run(id, ctx))
  }

  async #exclusive<T>(
    operation: string,
    spec: Spec<T>,
    options: CallOptions | undefined,
    run: (id: string, ctx: CallContext) => Promise<T>,
    event?: SimpleEvent,
  ): Promise<T> {
    let ran = false
    const value = await this.#call<T>(operation, { exclusive: true, ...spec }, options, (id, ctx) => {
      ran = true
      return run(id, ctx)
    })
    if (ran && event) this.#emit({ type: event })
    return value
  }

  #stream<T>(
    operation: string,
    signal: AbortSignal | undefined,
    open: (id: string, ctx: CallContext) => AsyncIterable<T>,
  ): AsyncIterableIterator<T> {
    const id = this.#id
    return this.#backend.stream({ operation, vmId: id }, signal, (ctx) => open(id, ctx))
  }

  #require(capability: Capability, operation: string, field?: string): void {
    this.#backend.require(capability, { operation, vmId: this.#id, machine: this.#missing, ...(field ? { field } : {}) })
  }

  #method<K extends keyof Backend['driver']>(name: K): NonNullable<Backend['driver'][K]> {
    const { driver } = this.#backend
    return bound(driver[name], driver, name)
  }

  /** Listing, restoring and deleting serve both kinds of snapshot. */
  #anySnapshot(): Capability {
    return this.#backend.missingReason('snapshot.disk', this.#missing) === undefined ? 'snapshot.disk' : 'snapshot.memory'
  }

  #emit(event: { type: SimpleEvent } | { type: 'stopped'; exit: VMExit } | { type: 'snapshotted' | 'restored'; tag: string }): void {
    this.#backend.emit({ driver: this.driver, id: this.#id, name: this.name, at: Date.now(), ...event })
  }

  async #emitStopped(): Promise<void> {
    if (this.#backend.missingReason('events') === undefined) return
    const unknown: VMExit = { code: null, signal: null, oom: null, reason: 'unknown', at: null }
    const status = await this.status().catch(() => undefined)
    this.#emit({ type: 'stopped', exit: status?.exit ?? unknown })
  }

  #waitable() {
    return {
      id: this.#id,
      driver: this.driver,
      status: (options: CallOptions) => this.status(options),
      endpoint: (port: number, options: CallOptions) => this.endpoint(port, options),
      exec: (command: readonly string[], options: ExecOptions) => this.exec(command, options),
      logs: (options: LogOptions & StreamOptions) => this.logs(options),
      logTail: () => this.#logTail(),
    }
  }

  /** The last lines, for errors: never itself a reason to fail. */
  async #logTail(): Promise<string[]> {
    const lines: string[] = []
    try {
      for await (const entry of this.logs({ tail: LOG_TAIL, signal: AbortSignal.timeout(1000) })) lines.push(entry.text)
    } catch {
      // no logs, or no backend: the error that asked says more
    }
    return lines
  }
}

type SimpleEvent = 'created' | 'started' | 'paused' | 'resumed' | 'deleted' | 'resized'
type Spec<T> = Partial<Omit<Parameters<Backend['call']>[0], 'operation' | 'vmId' | 'onLateResult'>> & { onLateResult?: (value: T) => void }

async function* readings(backend: Backend, id: string, intervalMs: number, ctx: CallContext): AsyncGenerator<VMMetrics> {
  while (!ctx.signal.aborted) {
    const { state } = await backend.driver.getStatus(id, ctx)
    if (state !== 'running' && state !== 'paused') return
    yield await backend.driver.getMetrics(id, ctx)
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, intervalMs)
      function done(): void {
        clearTimeout(timer)
        ctx.signal.removeEventListener('abort', done)
        resolve()
      }
      ctx.signal.addEventListener('abort', done, { once: true })
    })
  }
}

function bound<T>(method: T | undefined, owner: object, name: string): NonNullable<T> {
  if (method === undefined || method === null) throw new VMKitError('BACKEND_ERROR', `The driver claims ${name} and has no such method`)
  return (typeof method === 'function' ? method.bind(owner) : method) as NonNullable<T>
}

export function checkSignal(signal: string): string {
  if (typeof signal !== 'string' || !/^SIG[A-Z0-9+-]+$/.test(signal))
    throw invalidConfig('signal', "a signal name such as 'SIGTERM'", signal)
  return signal
}

function checkLogOptions({ tail, since }: LogOptions): void {
  if (tail !== undefined && !(Number.isSafeInteger(tail) && tail >= 0)) throw invalidConfig('options.tail', 'a whole number from 0', tail)
  if (since !== undefined && !Number.isFinite(Number(since))) throw invalidConfig('options.since', 'a Date or epoch milliseconds', since)
}

/** An address that listens on everything is reached on loopback. */
function reachable(hostIp: string): string {
  if (hostIp === '' || hostIp === '0.0.0.0') return '127.0.0.1'
  return hostIp === '::' ? '::1' : hostIp
}

function closeLate(session: TerminalSession): void {
  void session.close().catch(() => {})
}

/** A machine that came after its maker was told it would not: it must not stay. */
export function deleteLate(backend: Backend, ref: MachineRef): void {
  const neverAborted = new AbortController().signal
  void backend.driver.delete(ref.id, { force: true }, { signal: neverAborted, deadline: undefined, report: () => {} }).catch(() => {})
}

export type { Duration }
