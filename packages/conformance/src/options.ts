/** What a driver author hands to the kit. */
import type { DeviceConfig, VMConfig, VMDriver } from '@vmkit/core'

/**
 * The four functions of a test runner: those of node:test, mocha (`before`, `after`) and vitest (`beforeAll`, `afterAll`) fit
 * as they are. The third argument is for runners that take a limit there; the kit bounds every test by itself as well.
 */
export interface Runner {
  describe(name: string, define: () => void): unknown
  it(name: string, run: (...context: unknown[]) => Promise<void>, timeoutMs?: number): unknown
  before(run: () => Promise<void>): unknown
  after(run: () => Promise<void>): unknown
}

/**
 * What a machine's main process, or a command run by exec, does. Texts are written as they are, without a line end added.
 * Unless it says otherwise it exits with code 0 when done.
 */
export type Workload =
  /** Runs until SIGTERM, then exits with code 0. */
  | { does: 'idle' }
  | { does: 'exit'; code: number; afterMs?: number }
  /** Writes `stdout`, then `stderr`; then exits with `code` (default 0), or idles. */
  | { does: 'print'; stdout?: string; stderr?: string; code?: number; idles?: true }
  /** Writes these bytes to stdout, each array with a write of its own and a short pause between them. */
  | { does: 'pieces'; bytes: number[][] }
  /** Writes `ready\n`, ignores SIGTERM, and idles. */
  | { does: 'stubborn' }
  /** Starts two children that ignore SIGTERM, writes the three process ids as one line, and idles, ignoring SIGTERM too. */
  | { does: 'tree' }
  /** Exits with 0 when one of these processes still lives in the machine, else with 1. */
  | { does: 'alive'; pids: number[] }
  /** Writes about so many bytes to stdout, in lines of 100. */
  | { does: 'flood'; bytes: number }
  /** Writes `tick 1\n`, `tick 2\n` and so on until SIGTERM. */
  | { does: 'tick'; everyMs: number }
  /** Accepts TCP connections on this port and writes `hello\n` to each. */
  | { does: 'serve'; port: number }
  /** Copies stdin to stdout until its end. */
  | { does: 'echo' }
  /** Writes the value of this variable. */
  | { does: 'env'; name: string }
  /** Writes each of these arguments, which it gets as arguments of its own, with a NUL behind it. */
  | { does: 'args'; values: string[] }
  /** Writes its working folder and `\n`. */
  | { does: 'pwd' }
  /** Writes `columns rows\n` of its terminal at the start, and again at each SIGWINCH, until SIGTERM. */
  | { does: 'size' }
  /** Ends itself with this signal; exits with 99 where that has no effect (PID 1 of a container). */
  | { does: 'die'; signal: string }
  /** Takes memory until somebody stops it. */
  | { does: 'hog' }

/** Why a driver's machines cannot do something. It is printed with the test that is not run. */
export interface Cannot {
  cannot: string
}

/** How a second process makes the same driver: `export(options)` of `module` returns it. */
export interface ChildDriver {
  /** URL, absolute path, or a specifier as seen from the working folder. Plain JavaScript: Node loads it. */
  module: string
  export: string
  /** JSON. */
  options?: unknown
}

export const CONCERNS = [
  'manifest',
  'create',
  'lifecycle',
  'states',
  'identity',
  'exit',
  'logs',
  'exec',
  'exec-streams',
  'files',
  'metrics',
  'events',
  'pause',
  'limits',
  'rename',
  'ports',
  'restart',
  'attach',
  'volumes-networks',
  'devices',
  'snapshot',
  'clone',
  'migrate',
  'bundle',
  'images',
  'abort',
  'streams',
  'hostile',
  'unsupported',
  'walk',
  'backend-down',
  'sweep',
  'close',
  'crash',
  'processes',
] as const

/** One file of the kit. */
export type Concern = (typeof CONCERNS)[number]

export interface ConformanceOptions {
  runner: Runner
  /** A new instance at each call, all on the same backend and state. The kit closes every one of them. */
  createDriver(): VMDriver
  /** Needed when the driver's durability is `host`: without it the kit fails. */
  child?: ChildDriver
  /** The smallest machine whose main process does this. The kit adds a name, labels, and what the test is about. */
  machine(workload: Workload): VMConfig | Cannot | undefined
  /** Program and arguments that do this inside a machine. Default: {@link shellCommand}. */
  command?(workload: Workload): string[] | Cannot | undefined
  /** Takes the backend away and brings it back. */
  disrupt?: { down(): Promise<void>; up(): Promise<void> }
  /** Makes a machine on the backend behind vmkit's back, and removes it. The id and the name, as the backend has them. */
  foreign?(): Promise<{ id: string; name: string; remove(): Promise<void> }>
  /** What of the driver is on this host now, beside machines that are listed: state folders, processes, cgroups, mounts, each
   * as a line. Compared before and after, so that nothing is left that `list()` does not show. */
  leftovers?(): Promise<string[]>
  /** A driver on another backend ("another host") of the same kind, for migration. */
  createTarget?(): VMDriver
  images?: {
    /** A reference that can be pulled. */
    reference: string
    /** One that cannot. */
    missing: string
    /** An archive for `images.import`, anew at each call: the kit removes the image that it made of it. */
    archive?(): AsyncIterable<Uint8Array>
    /** A folder with a Dockerfile, for `build`. */
    buildContext?: string
  }
  /** A device that can be attached and detached here. */
  device?: DeviceConfig
  /** Limits to resize to, when the usual (half a CPU, 64 MiB, 64 processes) do not fit. */
  limits?: { cpus?: number; memory?: number; pids?: number }
  /** Factor on every wait, for slow engines. Default 1. */
  patience?: number
  /** Only these parts: for a second version of an engine, run what can differ. */
  only?: readonly Concern[]
  /** Tells two runs of one driver apart in reports, such as `podman`. */
  variant?: string
  /** Where the summary goes. Default console.log. */
  print?(text: string): void
  /** Seed of what is random. Default: a new one, which the summary tells. */
  seed?: number
}
