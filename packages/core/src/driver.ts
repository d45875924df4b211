/**
 * The contract between vmkit and a backend. A driver is a plain object: ids and data in, data out, no handles, no state
 * that a second process could not see. Everything drivers would otherwise repeat (config parsing, units, state guards,
 * locks, deadlines, refusals, events, error context) is done by the manager before and after these calls.
 *
 * Rules for every method:
 * - **Order.** The manager calls `probe` before anything else. It has checked the state table with a fresh `getStatus`
 *   when the operation has a row there, unless it is one of the driver's `guards`. The state may have changed since, so a
 *   backend's refusal must come out as `INVALID_STATE` or `CONFLICT`, never as success.
 * - **Idempotency.** `start`, `stop`, `pause`, `resume` of a machine that is already there resolve.
 * - **Concurrency.** Within one process, lifecycle calls for one id never overlap, except that `stop`, `kill` and `delete`
 *   abort a running `start` first. Another process may act on the same id at any moment: serialise with the backend's own
 *   atomicity or a lock in the state folder, or throw `CONFLICT`. Calls for different ids run in parallel.
 * - **Abort.** `ctx.signal` fires on abort and on deadline. Stop what was started, leave the backend consistent, reject
 *   soon: after 750 ms the manager stops waiting.
 * - **Identity.** An id names one incarnation. An id that is gone is `NOT_FOUND`, even when its name lives again.
 *   Machines that vmkit did not make are `NOT_FOUND` too, and never listed.
 * - **Errors** are `VMKitError`; anything else counts as `BACKEND_ERROR`. A backend that does not answer is
 *   `BACKEND_UNAVAILABLE`, at once, and the next call tries again.
 */
import type { CapabilityManifest } from './capabilities.js'
import type { ConfigField, DeviceConfig, MachineConfig } from './config/types.js'
import type {
  ExecRequest,
  ExecResult,
  ExecSession,
  FileEntry,
  ImageInfo,
  LogEntry,
  LogOptions,
  MigrationStats,
  Missing,
  NetworkInfo,
  Progress,
  SnapshotInfo,
  TerminalSession,
  VMEvent,
  VMExit,
  VMInfo,
  VMMetrics,
  VMState,
  VMStatus,
  VMSummary,
  VncEndpoint,
  VolumeInfo,
  WriteFileOptions,
} from './machine.js'
import type { GuardedOperation } from './states.js'

/** The contract versions that this core accepts. */
export const API_VERSIONS: readonly number[] = [1]

/** What comes with every call. */
export interface CallContext {
  readonly signal: AbortSignal
  /** Epoch milliseconds at which `signal` fires by itself; `undefined` without a deadline. For backends that take one. */
  readonly deadline: number | undefined
  /** Tells the caller how far a long operation is. Never throws. */
  report(progress: Progress): void
}

/** A machine as its maker names it. `missing` where this machine lacks capabilities its driver has on this host. */
export interface MachineRef {
  id: string
  missing?: Missing
}

/** What this host allows. */
export interface HostProbe {
  /** Whether machines can be created here at all. */
  available: boolean
  /** Why not. */
  reason?: string
  /** What calls that need the backend reject with, where somebody can mend it. Default `BACKEND_UNAVAILABLE`. */
  code?: 'PERMISSION_DENIED' | 'INVALID_CONFIG' | 'UNSUPPORTED'
  /** The option of the driver at fault, such as `options.socketPath`. */
  field?: string
  /** What to do about it. */
  hint?: string
  /** The backend and its version, such as `Docker Engine 28.5`. */
  engine?: string
  /** Every `'probe'` capability that this host lacks, with the reason. May also explain a capability that is never there. */
  missing: Missing
  resources?: { cpus: number; memoryBytes: number }
  /** Endpoints or files that were looked at, for "nothing found" errors. */
  tried?: { target: string; result: string }[]
  /** Facts for people: API version, storage driver, cgroup version. */
  details?: Readonly<Record<string, string>>
}

/** What a backend tells of a machine's use of resources, and where it comes from. */
export type MetricsReading = Pick<VMMetrics, 'source'> & Partial<VMMetrics>

export interface ListFilter {
  name?: string
  labels?: Readonly<Record<string, string>>
  states?: readonly VMState[]
}

export interface StopOptions {
  /** Milliseconds it has to end by itself: the caller's, else those of the machine's config. */
  graceMs: number
  /** The caller's, else that of the machine's config. Absent: the image's own, else SIGTERM. */
  signal?: string
}

export interface ResizeRequest {
  cpus?: number
  /** Bytes. */
  memory?: number
  pids?: number
}

export interface CloneRequest {
  tag: string
  name: string
  labels: Record<string, string>
}

/** What a target needs to know before a machine comes. Plain JSON: it may travel between hosts. */
export interface MigrationOffer {
  config: MachineConfig
  live: boolean
}

/** What the target made ready. Plain JSON, made and read by drivers of one kind only. */
export interface MigrationTicket {
  driver: string
  id: string
  [detail: string]: unknown
}

export interface PullRequest {
  reference: string
  policy?: 'always' | 'missing'
  platform?: string
  auth?: { username: string; password: string } | { token: string }
}

export interface BuildRequest {
  /** Folder on this host. */
  context: string
  tag: string
  dockerfile?: string
  args?: Readonly<Record<string, string>>
  target?: string
}

/** Present when `files` or `files.archive` is claimed. Paths are absolute in the machine, or relative to its workdir. */
export interface DriverFiles {
  /** @throws `NOT_FOUND` when there is no such file, on the first pull at the latest */
  read(id: string, path: string, ctx: CallContext): AsyncIterable<Uint8Array>
  /** Replaces the file as a whole; missing parent folders are made. */
  write(id: string, path: string, content: AsyncIterable<Uint8Array>, options: WriteFileOptions, ctx: CallContext): Promise<void>
  list(id: string, path: string, ctx: CallContext): Promise<FileEntry[]>
  /** A folder goes with all it holds. @throws `NOT_FOUND` */
  remove(id: string, path: string, ctx: CallContext): Promise<void>
  /** `path` and what is below it, as an uncompressed tar. */
  pack?(id: string, path: string, ctx: CallContext): AsyncIterable<Uint8Array>
  /** Unpacks an uncompressed tar below `path`. @throws `INVALID_CONFIG` for an entry that would leave `path` */
  unpack?(id: string, path: string, tar: AsyncIterable<Uint8Array>, ctx: CallContext): Promise<void>
}

export interface DriverImages {
  pull(request: PullRequest, ctx: CallContext): Promise<ImageInfo>
  list(ctx: CallContext): Promise<ImageInfo[]>
  /** @throws `IMAGE_NOT_FOUND`; `CONFLICT` while a machine uses it */
  remove(reference: string, ctx: CallContext): Promise<void>
  /** From an archive. The reference inside it is used when none is given. */
  import(archive: AsyncIterable<Uint8Array>, reference: string | undefined, ctx: CallContext): Promise<ImageInfo>
  /** A tar that `import` of any driver takes: an OCI image layout, a `docker save` archive, or both at once. @throws `IMAGE_NOT_FOUND` */
  export?(reference: string, ctx: CallContext): AsyncIterable<Uint8Array>
  build?(request: BuildRequest, ctx: CallContext): Promise<ImageInfo>
}

export interface DriverVolumes {
  create(name: string, labels: Record<string, string>, ctx: CallContext): Promise<VolumeInfo>
  list(ctx: CallContext): Promise<VolumeInfo[]>
  remove(name: string, ctx: CallContext): Promise<void>
}

export interface DriverNetworks {
  create(name: string, labels: Record<string, string>, ctx: CallContext): Promise<NetworkInfo>
  list(ctx: CallContext): Promise<NetworkInfo[]>
  remove(name: string, ctx: CallContext): Promise<void>
}

/** Methods that exist exactly when the manifest claims their capability. `capabilities.ts` says which belong to which. */
export interface OptionalDriverMethods {
  pause?(id: string, ctx: CallContext): Promise<void>
  resume?(id: string, ctx: CallContext): Promise<void>
  /** For backends that can only collect. Where `execStream` exists the manager builds this from it. */
  exec?(
    id: string,
    request: ExecRequest & { input?: Uint8Array; timeoutMs?: number; maxOutputBytes: number },
    ctx: CallContext,
  ): Promise<ExecResult>
  /** `ctx.signal` counts until the session is there; then the session's own `kill` ends it. */
  execStream?(id: string, request: ExecRequest, ctx: CallContext): Promise<ExecSession>
  /** Ends when everything is read, or with `follow` when the machine ends; `ctx.signal` ends it early. */
  logs?(id: string, options: LogOptions, ctx: CallContext): AsyncIterable<LogEntry>
  attach?(id: string, ctx: CallContext): Promise<TerminalSession>
  console?(id: string, ctx: CallContext): Promise<TerminalSession>
  vnc?(id: string, ctx: CallContext): Promise<VncEndpoint>
  /** A PNG. */
  screenshot?(id: string, ctx: CallContext): Promise<Uint8Array>
  /** What happens from now on, to every machine of vmkit on this backend, until `ctx.signal` fires. Live when the first
   * pull is pending: nothing that happens after that call is missed. Rejects when the backend goes away. */
  events?(ctx: CallContext): AsyncIterable<VMEvent>
  files?: DriverFiles
  resize?(id: string, request: ResizeRequest, ctx: CallContext): Promise<void>
  /** The id stays. Resolves when it has that name already. After a failure it is as it was before.
   * @throws `ALREADY_EXISTS` for a taken name */
  rename?(id: string, name: string, ctx: CallContext): Promise<void>
  attachDevice?(id: string, device: DeviceConfig, ctx: CallContext): Promise<string>
  detachDevice?(id: string, deviceId: string, ctx: CallContext): Promise<void>
  networks?: DriverNetworks
  volumes?: DriverVolumes
  /** @throws `ALREADY_EXISTS` for a taken tag */
  snapshot?(id: string, tag: string, options: { memory: boolean }, ctx: CallContext): Promise<SnapshotInfo>
  /** Returns the id the machine has from now on; with a memory snapshot it runs on from there, else it is stopped.
   * Where the id changes, the old one answers `NOT_FOUND` with the new one in `hint`. */
  restore?(id: string, tag: string, ctx: CallContext): Promise<MachineRef>
  listSnapshots?(id: string, ctx: CallContext): Promise<SnapshotInfo[]>
  deleteSnapshot?(id: string, tag: string, ctx: CallContext): Promise<void>
  /** A new machine from a snapshot: `created`, or running when the snapshot has memory. Atomic like `create`. */
  clone?(id: string, request: CloneRequest, ctx: CallContext): Promise<MachineRef>
  /** On the target: get ready. Nothing of it is listed yet. */
  prepareIncoming?(offer: MigrationOffer, ctx: CallContext): Promise<MigrationTicket>
  /** On the source: send everything. The machine is stopped before a cold one; after a live one it no longer runs here,
   * and is not deleted. Rejects with the machine still as it was. */
  migrateOut?(id: string, ticket: MigrationTicket, options: { live: boolean }, ctx: CallContext): Promise<MigrationStats>
  /** On the target: it is whole; a live one runs. Also says so when called for a machine that never arrived. */
  finishIncoming?(ticket: MigrationTicket, ctx: CallContext): Promise<MachineRef>
  /** On the target: forget it, leave nothing. Harmless when there is nothing. */
  cancelIncoming?(ticket: MigrationTicket, ctx: CallContext): Promise<void>
  exportBundle?(id: string, ctx: CallContext): AsyncIterable<Uint8Array>
  importBundle?(
    bundle: AsyncIterable<Uint8Array>,
    options: { name?: string; labels: Record<string, string> },
    ctx: CallContext,
  ): Promise<MachineRef>
  images?: DriverImages
}

export interface VMDriver<C extends CapabilityManifest = CapabilityManifest> extends OptionalDriverMethods {
  /** Registered name, such as `docker`. */
  readonly name: string
  readonly apiVersion: 1
  readonly capabilities: C
  /** Config fields it honours beside those that its capabilities bring, and beside `name`, `labels`, `ttl`. A driver that takes
   * options of its own names `driverOptions` and checks its entry there; without it, core refuses one. */
  readonly fields: readonly ConfigField[]
  /** `host`: machines outlive the app. `app`: they die with it. */
  readonly durability: 'host' | 'app'
  readonly isolation: 'none' | 'process' | 'container' | 'sandbox' | 'vm'
  /** Operations that the backend itself guards, atomically with doing them: in each state that the state table forbids, the
   * method rejects with `INVALID_STATE` or `CONFLICT` and changes nothing. The manager then asks for the state only after a
   * refusal, to say what it was: one backend call less each time. Default: none. */
  readonly guards?: readonly GuardedOperation[]
  /** What no capability names and only this driver has: methods that take the id or the name of a machine and a `CallContext`,
   * and give a promise. Apps find them as `extras` of the driver's handle. */
  readonly extras?: object

  /** Looks at the host. Never rejects because the backend is missing: that is `available: false` with the reason
   * (`unavailable` of the driver kit makes it of an error). */
  probe(ctx: CallContext): Promise<HostProbe>
  /** All or nothing: after a failure or an abort no trace is left. @throws `ALREADY_EXISTS` for a taken name,
   * `CONFLICT` for a taken host port where the engine knows it now */
  create(config: MachineConfig, ctx: CallContext): Promise<MachineRef>
  /** Resolves when it runs. After a failure it is as it was before. @throws `CONFLICT` for a taken host port */
  start(id: string, ctx: CallContext): Promise<void>
  /** Signal, grace, then SIGKILL; the whole tree is gone when it resolves. */
  stop(id: string, options: StopOptions, ctx: CallContext): Promise<void>
  /** Sends one signal to the main process and returns; it may go on running. */
  kill(id: string, signal: string, ctx: CallContext): Promise<void>
  /** Removes every trace. Without `force` only called when it does not run, unless `guards` has it.
   * @throws `NOT_FOUND` */
  delete(id: string, options: { force: boolean }, ctx: CallContext): Promise<void>
  getStatus(id: string, ctx: CallContext): Promise<VMStatus>
  getInfo(id: string, ctx: CallContext): Promise<VMInfo>
  /** Only called while it runs or is paused. What is left out is unknown and becomes `null`. */
  getMetrics(id: string, ctx: CallContext): Promise<MetricsReading>
  /** In as few backend calls as the engine allows. May return more than the filter asks for: the manager filters too.
   * It also cuts what it gets down to a summary. A backend that is down is an error, never an empty list. */
  list(filter: ListFilter, ctx: CallContext): Promise<VMSummary[]>
  /** The exit of the run that goes on now, of the last one when it is over, or of the next one when there was none. */
  wait(id: string, ctx: CallContext): Promise<VMExit>
  /** Resolves an id or a name to the id. Optional: without it the manager lists with the name as the filter. */
  find?(idOrName: string, ctx: CallContext): Promise<string>
  /** Frees sockets, watchers and timers. Machines go on (durability `host`). The driver is not used afterwards. */
  close(): Promise<void>
}
