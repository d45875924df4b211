import { randomUUID } from 'node:crypto'
import { type Capability, isCapability } from '../capabilities.js'
import { DEFAULT_STOP } from '../config/schema.js'
import type { DeviceConfig, MachineConfig, Size } from '../config/types.js'
import type { CallContext, MachineRef, MetricsReading } from '../driver.js'
import { VMKitError } from '../errors.js'
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
import type { Backend } from './backend.js'
import type { DriverHandle } from './driver-types.js'
import { exec, execStream } from './exec.js'
import { machineFiles } from './files.js'
import { toChunks } from './input.js'
import { migrate } from './migrate.js'
import type { CallOptions } from './operation.js'
import { type DisposePolicy, ownerLabels, userLabels } from './owner.js'
import { ARGUMENTS, OPTIONS, readArgument, readCapability, readOptions } from './requests.js'
import { pause } from './timer.js'
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
const LOG_TAIL_TIMEOUT_MS = 500
// What stopping takes beside the grace: the kill, and the clean-up after it.
const STOP_MARGIN_MS = 30_000

/** A machine as its handle gets to know it. Its config, where it is known, tells how it wants to be stopped. */
export interface AdoptedMachine extends MachineRef {
  name: string
  config?: Pick<MachineConfig, 'stop'>
}

/** Who keeps handles: the manager, which disposes of those that are still open when it closes. */
export interface HandleOwner {
  adopt(backend: Backend, machine: AdoptedMachine, policy: DisposePolicy): VM
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
  #stop: MachineConfig['stop'] | undefined
  #files: VMFiles | undefined
  #disposal: Promise<void> | undefined

  constructor(backend: Backend, owner: HandleOwner, machine: AdoptedMachine, onDispose: DisposePolicy) {
    this.#backend = backend
    this.#owner = owner
    this.#id = machine.id
    this.#missing = machine.missing
    this.#stop = machine.config?.stop
    this.name = machine.name
    this.onDispose = onDispose
  }

  get id(): string {
    return this.#id
  }

  get driver(): string {
    return this.#backend.name
  }

  get missing(): Missing {
    return this.#backend.missing(this.#missing)
  }

  supports(capability: Capability): boolean {
    return this.#backend.missingReason(readCapability(capability, isCapability), this.#missing) === undefined
  }

  async start(options?: CallOptions): Promise<void> {
    const call = readOptions(OPTIONS.call, options)
    await this.#exclusive('start', { guard: 'start' }, call, (id, ctx) => this.#backend.driver.start(id, ctx), 'started')
  }

  async stop(options?: StopCallOptions): Promise<void> {
    const { graceMs, signalName, ...call } = readOptions(OPTIONS.stop, options)
    const own = await this.#stopSettings(call)
    const request = { graceMs: graceMs ?? own.graceMs, signal: signalName ?? own.signal }
    const spec = { guard: 'stop' as const, interruptsStart: true, timeoutMs: request.graceMs + STOP_MARGIN_MS }
    let stopped = false
    await this.#exclusive('stop', spec, call, async (id, ctx) => {
      await this.#backend.driver.stop(id, request, ctx)
      stopped = true
    })
    if (stopped) await this.#emitStopped()
  }

  /** How the machine itself wants to be stopped. Its config does not change, so it is asked for once. */
  async #stopSettings(options: CallOptions): Promise<MachineConfig['stop']> {
    if (!this.#stop) {
      const { config } = await this.#call<VMInfo>('info', {}, options, (id, ctx) => this.#backend.driver.getInfo(id, ctx))
      this.#stop = config?.stop ?? DEFAULT_STOP
    }
    return this.#stop
  }

  async restart(options?: StopCallOptions): Promise<void> {
    const wanted = readOptions(OPTIONS.stop, options)
    const { graceMs: _grace, signalName: _signal, ...call } = wanted
    await this.stop(wanted)
    await this.start(call)
  }

  async kill(signal = 'SIGKILL', options?: CallOptions): Promise<void> {
    const name = readArgument(ARGUMENTS.signal, signal, 'signal')
    const call = readOptions(OPTIONS.call, options)
    await this.#exclusive('kill', { guard: 'kill', interruptsStart: true }, call, (id, ctx) => this.#backend.driver.kill(id, name, ctx))
  }

  async delete(options?: CallOptions & { force?: boolean }): Promise<void> {
    const { force = false, ...call } = readOptions(OPTIONS.delete, options)
    const spec = { guard: force ? undefined : ('delete' as const), interruptsStart: true }
    await this.#exclusive('delete', spec, call, (id, ctx) => this.#backend.driver.delete(id, { force }, ctx), 'deleted')
    this.#disposal ??= Promise.resolve()
    this.#owner.forget(this)
  }

  async status(options?: CallOptions): Promise<VMStatus> {
    return this.#call('status', {}, readOptions(OPTIONS.call, options), (id, ctx) => this.#backend.driver.getStatus(id, ctx))
  }

  async info(options?: CallOptions): Promise<VMInfo> {
    const call = readOptions(OPTIONS.call, options)
    const info = await this.#call<VMInfo>('info', {}, call, (id, ctx) => this.#backend.driver.getInfo(id, ctx))
    return { ...this.#backend.present(info), config: { ...info.config, labels: userLabels(info.config.labels) } }
  }

  async metrics(options?: CallOptions): Promise<VMMetrics> {
    const call = readOptions(OPTIONS.call, options)
    return this.#call('metrics', { guard: 'metrics' }, call, async (id, ctx) => complete(await this.#backend.driver.getMetrics(id, ctx)))
  }

  watchMetrics(options?: StreamOptions & { intervalMs?: number }): AsyncIterableIterator<VMMetrics> {
    const { intervalMs = 1000, signal } = readOptions(OPTIONS.metrics, options)
    return this.#stream('watchMetrics', signal, (id, ctx) => readings(this.#backend, id, intervalMs, ctx))
  }

  async wait(options?: CallOptions): Promise<VMExit> {
    return this.#call('wait', {}, readOptions(OPTIONS.call, options), (id, ctx) => this.#backend.driver.wait(id, ctx))
  }

  async waitFor(condition: WaitForOptions): Promise<void> {
    const { signal, ...wanted } = readArgument(OPTIONS.waitFor, condition, 'condition')
    // It has its own deadline, which tells more than a plain one can.
    await this.#call<void>('waitFor', { timeoutMs: Number.POSITIVE_INFINITY }, { signal }, (_id, ctx) =>
      waitFor(this.#waitable(), wanted as WaitForOptions, ctx.signal),
    )
  }

  async endpoint(port: number, options?: CallOptions): Promise<Endpoint> {
    const guest = readArgument(ARGUMENTS.port, port, 'port')
    const info = await this.info(options)
    const mappings = info.ports.filter((mapping) => mapping.guest === guest && mapping.host > 0)
    const published = mappings.find((mapping) => mapping.protocol === 'tcp') ?? mappings[0]
    if (published) return { host: reachable(published.hostIp), port: published.host }
    const [address] = info.addresses
    if (address !== undefined) return { host: address, port: guest }
    throw new VMKitError(
      'NOT_FOUND',
      `Port ${guest} of ${this.name} is not reachable: it is not published, and this host has no route to the machine (state ${info.state})`,
      { driver: this.driver, operation: 'endpoint', vmId: this.#id, hint: `Create it with ports: [{ guest: ${guest} }], and start it` },
    )
  }

  events(options?: StreamOptions): AsyncIterableIterator<MachineEvent> {
    const { signal } = readOptions(OPTIONS.stream, options)
    // By name as well, because a restore may give it a new id.
    return this.#backend.machineEvents(this.#id, (event) => event.id === this.#id || event.name === this.name, signal)
  }

  async pause(options?: CallOptions): Promise<void> {
    const call = readOptions(OPTIONS.call, options)
    await this.#exclusive('pause', { needs: 'pause', guard: 'pause' }, call, (id, ctx) => this.#method('pause')(id, ctx), 'paused')
  }

  async resume(options?: CallOptions): Promise<void> {
    const call = readOptions(OPTIONS.call, options)
    await this.#exclusive('resume', { needs: 'pause', guard: 'resume' }, call, (id, ctx) => this.#method('resume')(id, ctx), 'resumed')
  }

  async exec(command: readonly string[], options?: ExecOptions): Promise<ExecResult> {
    return exec(this.#backend, this.#machine(), command, options)
  }

  async execStream(command: readonly string[], options?: ExecStreamOptions): Promise<ExecSession> {
    return execStream(this.#backend, this.#machine(), command, options)
  }

  logs(options?: LogOptions & StreamOptions): AsyncIterableIterator<LogEntry> {
    const { signal, ...request } = readOptions(OPTIONS.logs, options)
    this.#require('logs', 'logs')
    if (request.since !== undefined) this.#require('logs.since', 'logs', 'since')
    return this.#stream('logs', signal, (id, ctx) => this.#method('logs')(id, request, ctx))
  }

  async attach(options?: CallOptions): Promise<TerminalSession> {
    const spec = { needs: 'attach' as const, guard: 'attach' as const, onLateResult: closeLate }
    return this.#call('attach', spec, readOptions(OPTIONS.call, options), (id, ctx) => this.#method('attach')(id, ctx))
  }

  async console(options?: CallOptions): Promise<TerminalSession> {
    const spec = { needs: 'console' as const, guard: 'attach' as const, onLateResult: closeLate }
    return this.#call('console', spec, readOptions(OPTIONS.call, options), (id, ctx) => this.#method('console')(id, ctx))
  }

  async vnc(options?: CallOptions): Promise<VncEndpoint> {
    const spec = { needs: 'vnc' as const, guard: 'attach' as const }
    return this.#call('vnc', spec, readOptions(OPTIONS.call, options), (id, ctx) => this.#method('vnc')(id, ctx))
  }

  async screenshot(options?: CallOptions): Promise<Uint8Array> {
    const spec = { needs: 'vnc' as const, guard: 'attach' as const }
    return this.#call('screenshot', spec, readOptions(OPTIONS.call, options), (id, ctx) => this.#method('screenshot')(id, ctx))
  }

  get files(): VMFiles {
    this.#files ??= machineFiles(this.#backend, () => this.#machine())
    return this.#files
  }

  copyOut(path: string, options?: StreamOptions): AsyncIterableIterator<Uint8Array> {
    const from = readArgument(ARGUMENTS.path, path, 'path')
    const { signal } = readOptions(OPTIONS.stream, options)
    this.#require('files.archive', 'copyOut')
    const files = this.#method('files')
    return this.#stream('copyOut', signal, (id, ctx) => bound(files.pack, files, 'files.pack')(id, from, ctx))
  }

  async copyIn(path: string, tar: Uint8Array | AsyncIterable<Uint8Array>, options?: CallOptions): Promise<void> {
    const to = readArgument(ARGUMENTS.path, path, 'path')
    const input = readArgument(ARGUMENTS.bytesInput, tar, 'tar')
    return this.#call('copyIn', { needs: 'files.archive' }, readOptions(OPTIONS.call, options), (id, ctx) => {
      const files = this.#method('files')
      return bound(files.unpack, files, 'files.unpack')(id, to, toChunks(input, 'tar'), ctx)
    })
  }

  async resize(limits: { cpus?: number; memory?: Size; pids?: number }, options?: CallOptions): Promise<void> {
    const request = readArgument(ARGUMENTS.limits, limits, 'limits', { operation: 'resize', vmId: this.#id })
    const call = readOptions(OPTIONS.call, options)
    await this.#exclusive(
      'resize',
      { needs: 'resize', guard: 'resize' },
      call,
      (id, ctx) => this.#method('resize')(id, request, ctx),
      'resized',
    )
  }

  async attachDevice(config: DeviceConfig, options?: CallOptions): Promise<string> {
    const device = readArgument(ARGUMENTS.device, config, 'device', { operation: 'attachDevice', vmId: this.#id })
    const spec = { needs: 'devices' as const, guard: 'devices' as const }
    const call = readOptions(OPTIONS.call, options)
    return this.#exclusive('attachDevice', spec, call, (id, ctx) => this.#method('attachDevice')(id, device, ctx))
  }

  async detachDevice(deviceId: string, options?: CallOptions): Promise<void> {
    const device = readArgument(ARGUMENTS.name, deviceId, 'deviceId')
    const spec = { needs: 'devices' as const, guard: 'devices' as const }
    const call = readOptions(OPTIONS.call, options)
    await this.#exclusive('detachDevice', spec, call, (id, ctx) => this.#method('detachDevice')(id, device, ctx))
  }

  async snapshot(tag: string, options?: SnapshotOptions): Promise<SnapshotInfo> {
    const name = readArgument(ARGUMENTS.name, tag, 'tag')
    const { memory = false, ...call } = readOptions(OPTIONS.snapshot, options)
    const spec = { needs: memory ? ('snapshot.memory' as const) : ('snapshot.disk' as const), guard: 'snapshot' as const }
    const info = await this.#exclusive('snapshot', spec, call, (id, ctx) => this.#method('snapshot')(id, name, { memory }, ctx))
    this.#emit({ type: 'snapshotted', tag: name })
    return info
  }

  async restore(tag: string, options?: CallOptions): Promise<void> {
    const name = readArgument(ARGUMENTS.name, tag, 'tag')
    const spec = { needs: this.#anySnapshot(), guard: 'restore' as const }
    await this.#exclusive('restore', spec, readOptions(OPTIONS.call, options), async (id, ctx) => {
      const ref = await this.#method('restore')(id, name, ctx)
      // Also when the caller has given up meanwhile: the old id is gone.
      this.#id = ref.id
      this.#missing = ref.missing ?? this.#missing
    })
    this.#emit({ type: 'restored', tag: name })
  }

  async snapshots(options?: CallOptions): Promise<SnapshotInfo[]> {
    const spec = { needs: this.#anySnapshot() }
    return this.#call('listSnapshots', spec, readOptions(OPTIONS.call, options), (id, ctx) => this.#method('listSnapshots')(id, ctx))
  }

  async deleteSnapshot(tag: string, options?: CallOptions): Promise<void> {
    const name = readArgument(ARGUMENTS.name, tag, 'tag')
    const spec = { needs: this.#anySnapshot() }
    const call = readOptions(OPTIONS.call, options)
    await this.#exclusive('deleteSnapshot', spec, call, (id, ctx) => this.#method('deleteSnapshot')(id, name, ctx))
  }

  async clone(tag: string, options?: { name?: string; onDispose?: DisposePolicy } & CallOptions): Promise<VM> {
    const from = readArgument(ARGUMENTS.name, tag, 'tag')
    const { name = cloneName(this.name), onDispose = 'delete', ...call } = readOptions(OPTIONS.named, options)
    const request = { tag: from, name, labels: ownerLabels(onDispose, undefined) }
    const spec = { needs: 'clone' as const, guard: 'clone' as const, onLateResult: (late: MachineRef) => this.#backend.deleteLate(late) }
    const ref = await this.#exclusive('clone', spec, call, (id, ctx) => this.#method('clone')(id, request, ctx))
    this.#backend.emit({ type: 'created', driver: this.driver, id: ref.id, name, at: Date.now() })
    return this.#owner.adopt(this.#backend, { ...ref, name }, onDispose)
  }

  async migrate(target: DriverHandle, options?: MigrateOptions): Promise<MigrationResult> {
    const wanted = readOptions(OPTIONS.migrate, options)
    const result = await migrate(this.#backend, { id: this.#id, missing: this.#missing, onDispose: this.onDispose }, target, wanted)
    this.#disposal = Promise.resolve()
    this.#owner.forget(this)
    return result
  }

  exportBundle(options?: StreamOptions): AsyncIterableIterator<Uint8Array> {
    const { signal } = readOptions(OPTIONS.stream, options)
    this.#require('bundle', 'exportBundle')
    return this.#stream('exportBundle', signal, (id, ctx) => this.#method('exportBundle')(id, ctx))
  }

  /** Does what `onDispose` says, once. A machine that is gone already is fine. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposal ??= this.#dispose()
    return this.#disposal
  }

  async #dispose(): Promise<void> {
    try {
      if (this.onDispose === 'delete') await this.delete({ force: true })
      if (this.onDispose === 'stop') await this.stop()
    } catch (error) {
      if (!(error instanceof VMKitError && error.code === 'NOT_FOUND')) {
        this.#disposal = undefined // closing the manager tries again
        throw error
      }
    }
    // Not before: a manager that closes meanwhile must wait for this, and not abort it.
    this.#owner.forget(this)
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
    return this.#backend.call<T>({ operation, vmId: id, ...spec }, options, this.#missing, async (ctx) => run(id, ctx))
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
      for await (const entry of this.logs({ tail: LOG_TAIL, signal: AbortSignal.timeout(LOG_TAIL_TIMEOUT_MS) })) lines.push(entry.text)
    } catch {
      // no logs, or no backend: the error that asked says more
    }
    return lines
  }
}

type SimpleEvent = 'created' | 'started' | 'paused' | 'resumed' | 'deleted' | 'resized'
type Spec<T> = Partial<Omit<Parameters<Backend['call']>[0], 'operation' | 'vmId' | 'onLateResult'>> & { onLateResult?: (value: T) => void }

/** What the driver left out is unknown. */
function complete(reading: MetricsReading): VMMetrics {
  return {
    at: Date.now(),
    cpu: { usageMs: null, userMs: null, systemMs: null },
    memory: { usedBytes: null, limitBytes: null },
    pids: null,
    network: null,
    disk: null,
    ...reading,
  }
}

async function* readings(backend: Backend, id: string, intervalMs: number, ctx: CallContext): AsyncGenerator<VMMetrics> {
  for (;;) {
    const { state } = await backend.driver.getStatus(id, ctx)
    if (state !== 'running' && state !== 'paused') return
    try {
      yield complete(await backend.driver.getMetrics(id, ctx))
    } catch (error) {
      // It ended between the two questions.
      if (error instanceof VMKitError && error.code === 'INVALID_STATE') return
      throw error
    }
    await pause(intervalMs, ctx.signal)
  }
}

function bound<T>(method: T | undefined, owner: object, name: string): NonNullable<T> {
  if (method === undefined || method === null) throw new VMKitError('BACKEND_ERROR', `The driver claims ${name} and has no such method`)
  return (typeof method === 'function' ? method.bind(owner) : method) as NonNullable<T>
}

/** A name that is free, most likely, and at most 63 long. */
function cloneName(name: string): string {
  return `${name.slice(0, 50)}-${randomUUID().slice(0, 8)}`
}

/** An address that listens on everything is reached on loopback. */
function reachable(hostIp: string): string {
  if (hostIp === '' || hostIp === '0.0.0.0') return '127.0.0.1'
  return hostIp === '::' ? '::1' : hostIp
}

async function closeLate(session: TerminalSession): Promise<void> {
  await session.close().catch(() => {})
}
