/**
 * The data of a machine: what drivers report and apps read. Sizes are bytes, times are milliseconds since the epoch
 * unless a name says otherwise. What a backend does not tell is `null`, never a guess.
 */

import type { Capability } from './capabilities.js'
import type { MachineConfig, PortProtocol } from './config/types.js'

export type VMState =
  | 'created'
  | 'starting'
  | 'running'
  | 'paused'
  | 'stopping'
  | 'stopped'
  /** The engine or hypervisor failed. A guest that exits with a non-zero code is `stopped`. */
  | 'failed'
  | 'migrating'
  | 'unknown'

export type ExitReason = 'exited' | 'signalled' | 'oom' | 'guest-shutdown' | 'guest-panic' | 'lost' | 'unknown'

/** How a machine ended. A field the backend cannot tell is `null`; it is never derived from another. */
export interface VMExit {
  code: number | null
  /** POSIX name, such as `SIGKILL`. */
  signal: string | null
  oom: boolean | null
  reason: ExitReason
  /** When it ended; `null` when nobody saw it. */
  at: number | null
}

export type VMHealth = 'starting' | 'healthy' | 'unhealthy'

export interface VMStatus {
  state: VMState
  /** Why the machine is in this state, when that is not obvious. */
  reason?: string
  /** How its last run ended; absent while it never ran. */
  exit?: VMExit
  /** Present when the machine has a health check. */
  health?: VMHealth
}

/** One line of `list()`: what an engine tells of many machines in one call. */
export interface VMSummary {
  id: string
  name: string
  driver: string
  state: VMState
  labels: Readonly<Record<string, string>>
  createdAt: number
}

export interface PublishedPort {
  guest: number
  host: number
  hostIp: string
  protocol: PortProtocol
}

/** Capabilities that are missing, each with the reason a person can act on. */
export type Missing = Partial<Record<Capability, string>>

/** All that is known of one machine. */
export interface VMInfo extends VMSummary, VMStatus {
  config: MachineConfig
  /** Addresses at which this host reaches the machine's own ports, best first. Empty when there is no route. */
  addresses: readonly string[]
  ports: readonly PublishedPort[]
  startedAt: number | null
  /** Process id on this host of the machine's main process or hypervisor. */
  pid: number | null
  /** Capabilities that this one machine lacks although its driver has them on this host. */
  missing?: Missing
  /** Driver-specific facts for people; nothing may depend on their shape. */
  details?: Readonly<Record<string, unknown>>
}

/** One reading of a machine's use of resources. Counters run from its start. */
export interface VMMetrics {
  at: number
  cpu: { usageMs: number | null; userMs: number | null; systemMs: number | null }
  memory: { usedBytes: number | null; limitBytes: number | null }
  pids: number | null
  network: { rxBytes: number; txBytes: number } | null
  disk: { readBytes: number; writeBytes: number } | null
  /** What this driver counts beside these, by names that its README explains; `null` for what is not known now. */
  details?: Readonly<Record<string, number | null>>
  /** Where the figures come from, such as `cgroup-v2` or `/proc`. */
  source: string
}

export type LogSource = 'stdout' | 'stderr' | 'console'

/** One line. A line longer than 64 KiB comes in parts, `partial` on all but the last. */
export interface LogEntry {
  source: LogSource
  text: string
  /** When the machine wrote it; `null` where the backend keeps no time. */
  at: number | null
  /** Pass it back as `after` to go on behind this entry. */
  cursor: string
  partial?: boolean
}

export interface LogOptions {
  /** Go on with new lines until the machine ends. Default false. */
  follow?: boolean
  /** Only the last so many lines that exist now; with `follow`, new ones after them. */
  tail?: number
  /** Only lines written at or after this time. Needs `logs.since`. */
  since?: Date | number
  /** Only lines behind this cursor. */
  after?: string
  /** Only these sources. */
  sources?: readonly LogSource[]
}

export interface TerminalSize {
  columns: number
  rows: number
}

export interface ExecRequest {
  /** Program and arguments; no shell interprets them. */
  command: readonly string[]
  env?: Readonly<Record<string, string>>
  workdir?: string
  user?: string
  /** Whether a stdin will be written. Needs `exec.stdin`. */
  stdin?: boolean
  /** A terminal of this size; its output is one stream, `console`. Needs `exec.tty`. */
  tty?: TerminalSize
}

export interface OutputChunk {
  source: LogSource
  data: Uint8Array
}

/** Where bytes go. `write` resolves when more may be written: await it to get backpressure. */
export interface ByteSink {
  write(data: Uint8Array | string): Promise<void>
  end(): Promise<void>
}

export interface ExecExit {
  exitCode: number | null
  signal: string | null
}

/** A terminal or serial line of a machine. Leaving the `output` loop early does not close it; `close()` does. */
export interface TerminalSession extends AsyncDisposable {
  readonly output: AsyncIterable<OutputChunk>
  readonly stdin: ByteSink
  resize(size: TerminalSize): Promise<void>
  /** Lets go of it. The machine goes on. */
  close(): Promise<void>
}

/** A command running in a machine. Disposing kills it if it still runs. */
export interface ExecSession extends AsyncDisposable {
  readonly output: AsyncIterable<OutputChunk>
  readonly stdin: ByteSink
  resize(size: TerminalSize): Promise<void>
  /** Signals the command and its children. Default `SIGKILL`. */
  kill(signal?: string): Promise<void>
  /** How it ended. Output that nobody reads is dropped once this is called, so that the command cannot block on it. */
  wait(): Promise<ExecExit>
}

export interface ExecResult extends ExecExit {
  /** UTF-8 text of what it wrote, up to the cap. */
  stdout: string
  stderr: string
  stdoutBytes: Uint8Array
  stderrBytes: Uint8Array
  /** The timeout ran out and the command was killed. */
  timedOut: boolean
  /** More came than the cap keeps. */
  truncated: boolean
}

export interface FileEntry {
  name: string
  type: 'file' | 'directory' | 'symlink' | 'other'
  size: number
  /** Permission bits, such as 0o644. */
  mode: number
  modifiedAt: number | null
}

export interface WriteFileOptions {
  /** Permission bits. Default 0o644. */
  mode?: number
}

export interface SnapshotInfo {
  tag: string
  createdAt: number
  memory: boolean
  sizeBytes: number | null
}

export interface VncEndpoint {
  /** A UNIX socket path, or host and port. */
  socketPath?: string
  host?: string
  port?: number
  password?: string
}

export interface ImageInfo {
  /** What `image` of a config may be to get it. */
  reference: string
  id: string
  sizeBytes: number | null
  createdAt: number | null
}

export interface VolumeInfo {
  name: string
  labels: Readonly<Record<string, string>>
  createdAt: number | null
}

export interface NetworkInfo {
  name: string
  id: string
  labels: Readonly<Record<string, string>>
}

/** What a long operation reports on its way. */
export interface Progress {
  /** The step, such as `pull`, `extract`, `memory`. */
  phase: string
  /** What it is working on, such as a layer's digest. */
  item?: string
  /** Done and total in `unit`; total is `null` while unknown. */
  current?: number
  total?: number | null
  unit?: 'bytes' | 'steps'
  message?: string
}

interface MachineEventBase {
  driver: string
  id: string
  name: string
  at: number
}

/** What happened to a machine. Made by the backend where it has events, else by the manager that did it. */
export type MachineEvent = MachineEventBase &
  (
    | { type: 'created' }
    | { type: 'started' }
    | { type: 'paused' }
    | { type: 'resumed' }
    | { type: 'stopped'; exit: VMExit }
    | { type: 'failed'; reason: string }
    | { type: 'deleted' }
    | { type: 'resized' }
    /** `name` is the new one. */
    | { type: 'renamed'; from: string }
    | { type: 'snapshotted'; tag: string }
    | { type: 'restored'; tag: string }
    | { type: 'migrated' }
    | { type: 'health'; health: VMHealth }
  )

export interface ImagePulledEvent {
  type: 'image-pulled'
  driver: string
  image: string
  at: number
}

export type VMEvent = MachineEvent | ImagePulledEvent

export type VMEventType = VMEvent['type']

/** Facts about a finished migration. */
export interface MigrationStats {
  /** How long the guest did not run. */
  downtimeMs: number
  bytes: number
  /** What this driver measures beside these, by names that its README explains; `null` for what is not known. */
  details?: Readonly<Record<string, number | null>>
}
