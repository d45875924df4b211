/** What apps see of a machine. Methods of a capability exist in the type exactly when the capability is certain or checked. */
import type { AnyCapabilities, Capability, CapabilityManifest } from '../capabilities.js'
import type { DeviceConfig, Duration, Size } from '../config/types.js'
import type {
  ExecRequest,
  ExecResult,
  ExecSession,
  FileEntry,
  LogEntry,
  LogOptions,
  MachineEvent,
  MigrationStats,
  Missing,
  SnapshotInfo,
  TerminalSession,
  VMExit,
  VMInfo,
  VMMetrics,
  VMStatus,
  VncEndpoint,
  WriteFileOptions,
} from '../machine.js'
import type { AnyDriverHandle } from './driver-types.js'
import type { CallOptions } from './operation.js'
import type { DisposePolicy } from './owner.js'

export interface StreamOptions {
  signal?: AbortSignal
}

export interface StopCallOptions extends CallOptions {
  /** How long it has to end by itself. Default: its config's, which is 10 s by default. */
  graceMs?: Duration
  /** Default: its config's, else the image's own, else SIGTERM. */
  signalName?: string
}

export type Stdin = string | Uint8Array | AsyncIterable<Uint8Array>

export interface ExecOptions extends Omit<ExecRequest, 'command' | 'stdin'>, Pick<CallOptions, 'signal'> {
  /** Written to the command, then closed. Needs `exec.stdin`. */
  stdin?: Stdin
  /** Milliseconds after which the command is killed and the result says `timedOut`. Needs `exec.kill`. Default: none. */
  timeoutMs?: number
  /** Bytes kept of stdout and of stderr each. Default 16 MiB. */
  maxOutputBytes?: number
}

export interface ExecStreamOptions extends Omit<ExecRequest, 'command'>, CallOptions {}

interface WaitForBase {
  /** Milliseconds until `TIMEOUT`. Default 60 000. */
  timeoutMs?: number
  /** Milliseconds between two looks. Default 100. */
  intervalMs?: number
  signal?: AbortSignal
}

/** What to wait for. It fails at once, with the last log lines, when the machine ends first. */
export type WaitForOptions = WaitForBase &
  (
    | {
        /**
         * Something accepts TCP connections on this port of the machine, and keeps them for 50 ms. A forwarder before the machine
         * (docker-proxy, QEMU's user network) that is slower to pass on a refusal looks the same: there, wait for a `log` line, or
         * `until` the server answers.
         */
        port: number
      }
    | { /** A line of its logs contains this text, or matches. Needs `logs`. */ log: string | RegExp }
    | { /** Its health check passes. */ healthy: true }
    | { /** This command exits with 0. Needs `exec`. */ exec: readonly string[] }
    | { until: (signal: AbortSignal) => boolean | Promise<boolean> }
  )

export interface Endpoint {
  host: string
  port: number
}

export interface VMFiles {
  /** @throws VMKitError `NOT_FOUND` */
  read(path: string, options?: CallOptions): Promise<Uint8Array>
  /** As UTF-8. */
  readText(path: string, options?: CallOptions): Promise<string>
  /** The content as it comes; nothing is held. */
  readStream(path: string, options?: StreamOptions): AsyncIterableIterator<Uint8Array>
  /** Replaces the file as a whole; missing parent folders are made. */
  write(path: string, content: Stdin, options?: WriteFileOptions & CallOptions): Promise<void>
  list(path: string, options?: CallOptions): Promise<FileEntry[]>
  /** A folder goes with all it holds. */
  remove(path: string, options?: CallOptions): Promise<void>
}

export interface SnapshotOptions extends CallOptions {
  memory?: boolean
}

export interface MigrateOptions extends CallOptions {
  /** Move it while it runs. Needs `migrate.live` on both sides. Default false: stop, move, start. */
  live?: boolean
}

export interface MigrationResult extends MigrationStats {
  vm: VM
  totalMs: number
}

interface SnapshotMethods {
  /** Moves back to a snapshot. The handle follows when the machine gets a new id. */
  restore(tag: string, options?: CallOptions): Promise<void>
  snapshots(options?: CallOptions): Promise<SnapshotInfo[]>
  deleteSnapshot(tag: string, options?: CallOptions): Promise<void>
}

interface MigrateMethods {
  /** Moves the machine to another driver instance; the source is deleted once the target runs. This handle is then spent. */
  migrate(target: AnyDriverHandle, options?: MigrateOptions): Promise<MigrationResult>
}

/** The methods that come with each capability. */
export interface CapabilityMethods {
  pause: {
    pause(options?: CallOptions): Promise<void>
    resume(options?: CallOptions): Promise<void>
  }
  exec: {
    /** Runs a command to its end. A non-zero exit is a result, not an error. */
    exec(command: readonly string[], options?: ExecOptions): Promise<ExecResult>
  }
  'exec.stream': {
    /** Starts a command with live streams. Dispose of the session, or read it to its end. */
    execStream(command: readonly string[], options?: ExecStreamOptions): Promise<ExecSession>
  }
  'exec.stdin': unknown
  'exec.tty': unknown
  'exec.kill': unknown
  logs: { logs(options?: LogOptions & StreamOptions): AsyncIterableIterator<LogEntry> }
  'logs.since': unknown
  attach: { attach(options?: CallOptions): Promise<TerminalSession> }
  events: unknown
  files: { readonly files: VMFiles }
  'files.archive': {
    /** `path` and what is below it, as an uncompressed tar. */
    copyOut(path: string, options?: StreamOptions): AsyncIterableIterator<Uint8Array>
    /** Unpacks an uncompressed tar below `path`. */
    copyIn(path: string, tar: Uint8Array | AsyncIterable<Uint8Array>, options?: CallOptions): Promise<void>
  }
  console: { console(options?: CallOptions): Promise<TerminalSession> }
  vnc: {
    vnc(options?: CallOptions): Promise<VncEndpoint>
    /** A PNG of the screen. */
    screenshot(options?: CallOptions): Promise<Uint8Array>
  }
  ports: unknown
  mounts: unknown
  volumes: unknown
  networks: unknown
  restart: unknown
  'limits.cpu': unknown
  'limits.memory': unknown
  'limits.pids': unknown
  resize: { resize(limits: { cpus?: number; memory?: Size; pids?: number }, options?: CallOptions): Promise<void> }
  rename: {
    /** Its id stays, and the old name is free again. @throws VMKitError `ALREADY_EXISTS` for a taken name */
    rename(name: string, options?: CallOptions): Promise<void>
  }
  devices: {
    /** Returns the id for `detachDevice`. */
    attachDevice(device: DeviceConfig, options?: CallOptions): Promise<string>
    detachDevice(deviceId: string, options?: CallOptions): Promise<void>
  }
  'snapshot.disk': SnapshotMethods & { snapshot(tag: string, options?: SnapshotOptions & { memory?: false }): Promise<SnapshotInfo> }
  'snapshot.memory': SnapshotMethods & { snapshot(tag: string, options: SnapshotOptions & { memory: true }): Promise<SnapshotInfo> }
  clone: {
    /** A new machine from a snapshot. Running when the snapshot has memory, else `created`. */
    clone(tag: string, options?: { name?: string; onDispose?: DisposePolicy } & CallOptions): Promise<VM>
  }
  'clone.memory': unknown
  'migrate.cold': MigrateMethods
  'migrate.live': MigrateMethods
  images: unknown
  'images.export': unknown
  build: unknown
  bundle: {
    /** The machine as a portable tar, for `importBundle` of any driver that takes its kind. */
    exportBundle(options?: StreamOptions): AsyncIterableIterator<Uint8Array>
  }
}

/** What every machine has. */
export interface VMBase<C extends CapabilityManifest = AnyCapabilities> extends AsyncDisposable {
  /** Names this incarnation; changes where a restore makes a new one. */
  readonly id: string
  /** Changes with `rename`, by any handle of this manager. */
  readonly name: string
  readonly driver: string
  /** What disposing of this handle does. */
  readonly onDispose: DisposePolicy
  /** Capabilities that this machine lacks, each with its reason. */
  readonly missing: Missing

  /** Whether this machine, on this host, has a capability. Narrows the handle to the methods that come with it. */
  supports<K extends Narrowing<Keys<C, 'probe'>, CapabilityMethods>>(capability: K): this is this & CapabilityMethods[K]
  supports(capability: Keys<C, true>): true
  supports(capability: Keys<C, 'probe'>): boolean
  supports(capability: Exclude<Capability, keyof C>): false

  /** Resolves when it runs; also when it ran already. */
  start(options?: CallOptions): Promise<void>
  /** Signal, grace, then SIGKILL; the whole tree is gone when it resolves. Resolves also when it was stopped already. */
  stop(options?: StopCallOptions): Promise<void>
  restart(options?: StopCallOptions): Promise<void>
  /** Sends a signal and returns. Default SIGKILL. */
  kill(signal?: string, options?: CallOptions): Promise<void>
  /** Removes every trace. @throws VMKitError `INVALID_STATE` while it runs, without `force` */
  delete(options?: CallOptions & { force?: boolean }): Promise<void>
  status(options?: CallOptions): Promise<VMStatus>
  info(options?: CallOptions): Promise<VMInfo>
  metrics(options?: CallOptions): Promise<VMMetrics>
  /** A reading every `intervalMs` (default 1000) until the machine no longer runs. */
  watchMetrics(options?: StreamOptions & { intervalMs?: number }): AsyncIterableIterator<VMMetrics>
  /** How its present run ends, or its last one ended; for one that never ran, its next. No deadline unless you give one. */
  wait(options?: CallOptions): Promise<VMExit>
  waitFor(condition: WaitForOptions): Promise<void>
  /** Where this host reaches a port of the machine. @throws VMKitError `NOT_FOUND` when it is not published */
  endpoint(port: number, options?: CallOptions): Promise<Endpoint>
  /** What happens to this machine from the first pull on. */
  events(options?: StreamOptions): AsyncIterableIterator<MachineEvent>
}

/** Those of the capabilities that bring members. A predicate for one without would turn the `else` branch into `never`. */
export type Narrowing<K extends Capability, Table> = K extends keyof Table ? (unknown extends Table[K] ? never : K) : never

/** The names of the capabilities that a manifest claims in this way. */
export type Keys<C, V> = { [K in keyof C]: C[K] extends V ? K : never }[keyof C] & Capability

// Boxed: inferred as it is, a capability without methods (`unknown`) would swallow the methods of all the others.
type MethodsOf<K extends Capability> = (K extends unknown ? (value: { box: CapabilityMethods[K] }) => void : never) extends (
  value: infer I extends { box: unknown },
) => void
  ? I['box']
  : never
type Methods<K extends Capability> = [K] extends [never] ? unknown : MethodsOf<K>

/** A machine of a driver with this manifest. */
export type VM<C extends CapabilityManifest = AnyCapabilities> = VMBase<C> & Methods<Keys<C, true>>
