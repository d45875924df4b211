import type { Capability } from '../capabilities.js'
import { DEFAULT_STOP } from '../config/schema.js'
import type { DeviceConfig, MachineConfig, Size } from '../config/types.js'
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
import type { AnyDriverHandle } from './driver-types.js'
import { endpointOf } from './endpoint.js'
import { exec, execStream } from './exec.js'
import { copyIn, copyOut, machineFiles } from './files.js'
import type { AdoptedMachine, HandleOwner } from './handle-owner.js'
import { KnownMachine } from './known-machine.js'
import { MachineCalls } from './machine-calls.js'
import { complete, readings } from './metrics.js'
import { migrate } from './migrate.js'
import type { CallOptions } from './operation.js'
import { type DisposePolicy, userLabels } from './owner.js'
import { rename } from './rename.js'
import { ARGUMENTS, OPTIONS, readArgument, readCapability, readOptions } from './requests.js'
import { clone, deleteSnapshot, listSnapshots, restore, snapshot } from './snapshots.js'
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

// What stopping takes beside the grace: the kill, and the clean-up after it.
const STOP_MARGIN_MS = 30_000

/**
 * The one implementation of every VM type. All methods exist at run time; the types show those that a manifest promises,
 * and a call of another is refused with the reason.
 */
export class MachineHandle {
  readonly onDispose: DisposePolicy
  readonly #calls: MachineCalls
  readonly #owner: HandleOwner
  #stop: MachineConfig['stop'] | undefined
  #files: VMFiles | undefined
  #disposal: Promise<void> | undefined

  constructor(backend: Backend, owner: HandleOwner, machine: AdoptedMachine, onDispose: DisposePolicy) {
    this.#calls = new MachineCalls(backend, new KnownMachine(machine, machine.name, backend.names))
    this.#owner = owner
    this.#stop = machine.config?.stop
    this.onDispose = onDispose
  }

  get id(): string {
    return this.#calls.machine.id
  }

  get name(): string {
    return this.#calls.machine.name
  }

  get driver(): string {
    return this.#calls.backend.name
  }

  get missing(): Missing {
    return this.#calls.backend.host.missing(this.#calls.machine.missing)
  }

  supports(capability: Capability): boolean {
    return this.#calls.missingReason(readCapability(capability)) === undefined
  }

  async start(options?: CallOptions): Promise<void> {
    const call = readOptions(OPTIONS.call, options)
    await this.#calls.exclusive('start', { guard: 'start', event: 'started' }, call, (id, ctx) => this.#calls.driver.start(id, ctx))
  }

  async stop(options?: StopCallOptions): Promise<void> {
    const { graceMs, signalName, ...call } = readOptions(OPTIONS.stop, options)
    const own = await this.#stopSettings(call)
    const request = { graceMs: graceMs ?? own.graceMs, signal: signalName ?? own.signal }
    const spec = { guard: 'stop' as const, interruptsStart: true, timeoutMs: request.graceMs + STOP_MARGIN_MS, event: 'stopped' as const }
    await this.#calls.exclusive('stop', spec, call, (id, ctx) => this.#calls.driver.stop(id, request, ctx))
  }

  /** How the machine itself wants to be stopped. Its config does not change, so it is asked for once. */
  async #stopSettings(options: CallOptions): Promise<MachineConfig['stop']> {
    if (!this.#stop) {
      const { config } = await this.#calls.call<VMInfo>('info', {}, options, (id, ctx) => this.#calls.driver.getInfo(id, ctx))
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
    await this.#calls.exclusive('kill', { guard: 'kill', interruptsStart: true }, call, (id, ctx) => this.#calls.driver.kill(id, name, ctx))
  }

  async delete(options?: CallOptions & { force?: boolean }): Promise<void> {
    const { force = false, ...call } = readOptions(OPTIONS.delete, options)
    const spec = { guard: force ? undefined : ('delete' as const), interruptsStart: true, event: 'deleted' as const }
    await this.#calls.exclusive('delete', spec, call, (id, ctx) => this.#calls.driver.delete(id, { force }, ctx))
    this.#calls.machine.forget()
    this.#disposal ??= Promise.resolve()
    this.#owner.forget(this)
  }

  async status(options?: CallOptions): Promise<VMStatus> {
    return this.#calls.call('status', {}, readOptions(OPTIONS.call, options), (id, ctx) => this.#calls.driver.getStatus(id, ctx))
  }

  async info(options?: CallOptions): Promise<VMInfo> {
    const call = readOptions(OPTIONS.call, options)
    const info = await this.#calls.call<VMInfo>('info', {}, call, (id, ctx) => this.#calls.driver.getInfo(id, ctx))
    return { ...this.#calls.backend.present(info), config: { ...info.config, labels: userLabels(info.config.labels) } }
  }

  async metrics(options?: CallOptions): Promise<VMMetrics> {
    const call = readOptions(OPTIONS.call, options)
    return this.#calls.call('metrics', { guard: 'metrics' }, call, async (id, ctx) =>
      complete(await this.#calls.driver.getMetrics(id, ctx)),
    )
  }

  watchMetrics(options?: StreamOptions & { intervalMs?: number }): AsyncIterableIterator<VMMetrics> {
    const { intervalMs = 1000, signal } = readOptions(OPTIONS.metrics, options)
    return this.#calls.stream('watchMetrics', signal, (id, ctx) => readings(this.#calls.backend, id, intervalMs, ctx))
  }

  async wait(options?: CallOptions): Promise<VMExit> {
    return this.#calls.call('wait', {}, readOptions(OPTIONS.call, options), (id, ctx) => this.#calls.driver.wait(id, ctx))
  }

  async waitFor(condition: WaitForOptions): Promise<void> {
    const { signal, ...wanted } = readArgument(OPTIONS.waitFor, condition, 'condition')
    // It has its own deadline, which tells more than a plain one can.
    await this.#calls.call<void>('waitFor', { timeoutMs: Number.POSITIVE_INFINITY }, { signal }, (_id, ctx) =>
      waitFor(this, wanted as WaitForOptions, ctx.signal),
    )
  }

  async endpoint(port: number, options?: CallOptions): Promise<Endpoint> {
    const guest = readArgument(ARGUMENTS.port, port, 'port')
    return endpointOf(await this.info(options), guest)
  }

  events(options?: StreamOptions): AsyncIterableIterator<MachineEvent> {
    const { signal } = readOptions(OPTIONS.stream, options)
    return this.#calls.backend.readMachineEvents(this.#calls.machine, signal)
  }

  async pause(options?: CallOptions): Promise<void> {
    const call = readOptions(OPTIONS.call, options)
    await this.#calls.exclusive('pause', { needs: 'pause', guard: 'pause', event: 'paused' }, call, (id, ctx) =>
      this.#calls.method('pause')(id, ctx),
    )
  }

  async resume(options?: CallOptions): Promise<void> {
    const call = readOptions(OPTIONS.call, options)
    await this.#calls.exclusive('resume', { needs: 'pause', guard: 'resume', event: 'resumed' }, call, (id, ctx) =>
      this.#calls.method('resume')(id, ctx),
    )
  }

  async exec(command: readonly string[], options?: ExecOptions): Promise<ExecResult> {
    return exec(this.#calls, command, options)
  }

  async execStream(command: readonly string[], options?: ExecStreamOptions): Promise<ExecSession> {
    return execStream(this.#calls, command, options)
  }

  logs(options?: LogOptions & StreamOptions): AsyncIterableIterator<LogEntry> {
    const { signal, ...request } = readOptions(OPTIONS.logs, options)
    this.#calls.require('logs', 'logs')
    if (request.since !== undefined) this.#calls.require('logs.since', 'logs', 'since')
    return this.#calls.stream('logs', signal, (id, ctx) => this.#calls.method('logs')(id, request, ctx))
  }

  async attach(options?: CallOptions): Promise<TerminalSession> {
    const spec = { needs: 'attach' as const, guard: 'attach' as const, onLateResult: closeLate }
    return this.#calls.call('attach', spec, readOptions(OPTIONS.call, options), (id, ctx) => this.#calls.method('attach')(id, ctx))
  }

  async console(options?: CallOptions): Promise<TerminalSession> {
    const spec = { needs: 'console' as const, guard: 'attach' as const, onLateResult: closeLate }
    return this.#calls.call('console', spec, readOptions(OPTIONS.call, options), (id, ctx) => this.#calls.method('console')(id, ctx))
  }

  async vnc(options?: CallOptions): Promise<VncEndpoint> {
    const spec = { needs: 'vnc' as const, guard: 'attach' as const }
    return this.#calls.call('vnc', spec, readOptions(OPTIONS.call, options), (id, ctx) => this.#calls.method('vnc')(id, ctx))
  }

  async screenshot(options?: CallOptions): Promise<Uint8Array> {
    const spec = { needs: 'vnc' as const, guard: 'attach' as const }
    return this.#calls.call('screenshot', spec, readOptions(OPTIONS.call, options), (id, ctx) => this.#calls.method('screenshot')(id, ctx))
  }

  get files(): VMFiles {
    this.#files ??= machineFiles(this.#calls)
    return this.#files
  }

  copyOut(path: string, options?: StreamOptions): AsyncIterableIterator<Uint8Array> {
    return copyOut(this.#calls, path, options)
  }

  async copyIn(path: string, tar: Uint8Array | AsyncIterable<Uint8Array>, options?: CallOptions): Promise<void> {
    return copyIn(this.#calls, path, tar, options)
  }

  async resize(limits: { cpus?: number; memory?: Size; pids?: number }, options?: CallOptions): Promise<void> {
    const request = readArgument(ARGUMENTS.limits, limits, 'limits', { operation: 'resize', vmId: this.id })
    const call = readOptions(OPTIONS.call, options)
    await this.#calls.exclusive('resize', { needs: 'resize', guard: 'resize', event: 'resized' }, call, (id, ctx) =>
      this.#calls.method('resize')(id, request, ctx),
    )
  }

  async rename(name: string, options?: CallOptions): Promise<void> {
    return rename(this.#calls, name, options)
  }

  async attachDevice(config: DeviceConfig, options?: CallOptions): Promise<string> {
    const device = readArgument(ARGUMENTS.device, config, 'device', { operation: 'attachDevice', vmId: this.id })
    const spec = { needs: 'devices' as const, guard: 'devices' as const }
    const call = readOptions(OPTIONS.call, options)
    return this.#calls.exclusive('attachDevice', spec, call, (id, ctx) => this.#calls.method('attachDevice')(id, device, ctx))
  }

  async detachDevice(deviceId: string, options?: CallOptions): Promise<void> {
    const device = readArgument(ARGUMENTS.name, deviceId, 'deviceId')
    const spec = { needs: 'devices' as const, guard: 'devices' as const }
    const call = readOptions(OPTIONS.call, options)
    await this.#calls.exclusive('detachDevice', spec, call, (id, ctx) => this.#calls.method('detachDevice')(id, device, ctx))
  }

  async snapshot(tag: string, options?: SnapshotOptions): Promise<SnapshotInfo> {
    return snapshot(this.#calls, tag, options)
  }

  async restore(tag: string, options?: CallOptions): Promise<void> {
    return restore(this.#calls, tag, options)
  }

  async snapshots(options?: CallOptions): Promise<SnapshotInfo[]> {
    return listSnapshots(this.#calls, options)
  }

  async deleteSnapshot(tag: string, options?: CallOptions): Promise<void> {
    return deleteSnapshot(this.#calls, tag, options)
  }

  async clone(tag: string, options?: { name?: string; onDispose?: DisposePolicy } & CallOptions): Promise<VM> {
    return clone(this.#calls, this.#owner, tag, options)
  }

  async migrate(target: AnyDriverHandle, options?: MigrateOptions): Promise<MigrationResult> {
    const wanted = readOptions(OPTIONS.migrate, options)
    const result = await migrate(this.#calls.backend, this.#calls.machine, target, this.onDispose, wanted)
    this.#disposal = Promise.resolve()
    this.#owner.forget(this)
    return result
  }

  exportBundle(options?: StreamOptions): AsyncIterableIterator<Uint8Array> {
    const { signal } = readOptions(OPTIONS.stream, options)
    this.#calls.require('bundle', 'exportBundle')
    return this.#calls.stream('exportBundle', signal, (id, ctx) => this.#calls.method('exportBundle')(id, ctx))
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
}

async function closeLate(session: TerminalSession): Promise<void> {
  await session.close().catch(() => {})
}
