import type { Server } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  type DeviceConfig,
  invalidConfig,
  type LogSource,
  type MachineConfig,
  type MachineEvent,
  type PublishedPort,
  type TerminalSize,
  type VMExit,
  type VMHealth,
  VMKitError,
  type VMState,
} from '@vmkit/core/driver'
import type { Clock } from './clock.js'
import type { Death } from './faults.js'
import { type FileStore, FileTree, MemoryFiles, type MountPoint } from './file-tree.js'
import { hostFolder } from './host-folder.js'
import { LogStore } from './log-store.js'
import { closePorts, openPorts } from './ports.js'
import { type MockProcess, type ProcessExit, runProgram } from './process.js'
import type { Program } from './programs.js'

const RESTART_DELAY_MS = 100

export interface SavedState {
  tag: string
  createdAt: number
  disk: MemoryFiles
  /** Present when the memory was saved too. */
  memory?: Map<string, unknown>
  paused?: boolean
}

/** What a machine needs of the backend it lives in. */
export interface Surroundings {
  clock: Clock
  program(name: string): Program | undefined
  /** The contents of a named volume. */
  volume(name: string): FileStore
  emit(event: MachineEvent): void
}

/** One mock machine: all of its state, and the life of its main process. */
export class Machine {
  readonly id: string
  config: MachineConfig
  readonly createdAt: number
  readonly logs = new LogStore()
  readonly snapshots = new Map<string, SavedState>()
  readonly devices = new Map<string, DeviceConfig>()
  readonly execs = new Set<MockProcess>()
  readonly #mounts: MountPoint[]
  readonly listeners = new Map<number, (socket: Duplex) => void>()
  disk: MemoryFiles
  memory = new Map<string, unknown>()
  limits: { cpus?: number; memory?: number; pids?: number }
  state: VMState = 'created'
  exit: VMExit | undefined
  health: VMHealth | undefined
  startedAt: number | null = null
  ports: PublishedPort[] = []
  main: MockProcess | undefined
  /** Output of the main process to those who are attached. */
  readonly attached = new Set<(source: LogSource, data: Uint8Array) => Promise<unknown>>()
  terminal: TerminalSize = { columns: 80, rows: 24 }
  #allocated = 0
  #restarts = 0
  #stopping = false
  #servers: Server[] = []
  /** Resolves once the end of the main process is on record. */
  #over: Promise<void> = Promise.resolve()
  /** The process that an injected fault ends, and what is to be known of its exit. */
  #doomed: MockProcess | undefined
  #doom: Partial<VMExit> = {}
  readonly #exits: ((exit: VMExit | VMKitError) => void)[] = []
  readonly #world: Surroundings

  constructor(config: MachineConfig, world: Surroundings, from?: { disk: MemoryFiles; memory?: Map<string, unknown> }) {
    this.id = crypto.randomUUID()
    this.config = config
    this.#world = world
    this.createdAt = world.clock.now()
    this.limits = { cpus: config.cpus, memory: config.memory, pids: config.pids }
    this.disk = from?.disk.copy() ?? new MemoryFiles()
    this.#mounts = [
      ...config.mounts.map(({ source, target, readOnly }) => ({ target, readOnly, store: hostFolder(source) })),
      ...config.volumes.map(({ name, target, readOnly }) => ({ target, readOnly, store: world.volume(name) })),
    ]
    if (from?.memory) this.memory = structuredClone(from.memory)
    for (const [index, device] of config.devices.entries()) this.devices.set(device.id ?? `device-${index}`, device)
    for (const { path, content, mode } of config.files) {
      const bytes = typeof content === 'string' ? Buffer.from(content) : content
      this.files.write(this.path(path), { type: 'file', mode, modifiedAt: this.createdAt, content: bytes })
    }
  }

  get isActive(): boolean {
    return this.state === 'running' || this.state === 'paused'
  }

  get files(): FileTree {
    return new FileTree(this.disk, this.#mounts)
  }

  path(path: string): string {
    return this.files.resolve(path, this.workdir)
  }

  get workdir(): string {
    return this.config.workdir ?? '/'
  }

  get argv(): string[] {
    return [...(this.config.command ?? ['sleep', 'infinity']), ...(this.config.args ?? [])]
  }

  get usedMemory(): number {
    return this.#allocated + this.disk.bytes
  }

  /** Runs the main program. `death` ends it by itself after a while. */
  async start(death?: Death): Promise<void> {
    const [name] = this.argv as [string]
    const program = this.#world.program(name)
    if (!program) throw invalidConfig('config.command.0', 'a program that this mock has', name)
    this.#servers = await openPorts(this.config.ports, (guest, socket) => this.#connect(guest, socket))
    this.ports = this.config.ports.map((port, index) => ({ ...port, host: addressPort(this.#servers[index]) }))
    this.#stopping = false
    this.startedAt = this.#world.clock.now()
    this.state = 'running'
    this.#allocated = 0
    const main = this.run(program, this.argv, {
      stdin: this.config.stdin,
      terminal: this.config.tty ? this.terminal : undefined,
      output: async (source, data) => {
        this.logs.append(source, data, this.#world.clock.now())
        await Promise.all([...this.attached].map((write) => write(source, data)))
      },
    })
    this.main = main
    this.#over = main.exited.then((exit) =>
      this.#ended(main, { ...exitOf(exit), at: this.#world.clock.now(), ...(main === this.#doomed ? this.#doom : {}) }),
    )
    this.emit({ type: 'started' })
    if (death) void this.#dieLater(main, death)
  }

  async #dieLater(main: MockProcess, death: Death): Promise<void> {
    await this.#world.clock.sleep(death.afterMs)
    this.#doomed = main
    this.#doom = death.exit
    main.signal('SIGKILL')
  }

  /** A program in this machine, the main one or beside it. */
  run(
    program: Program,
    argv: readonly string[],
    io: {
      env?: Readonly<Record<string, string>>
      workdir?: string
      stdin: boolean
      terminal?: TerminalSize
      output(source: LogSource, data: Uint8Array): Promise<void>
    },
  ): MockProcess {
    return runProgram({
      program,
      argv,
      env: { ...this.config.env, ...io.env },
      workdir: io.workdir ?? this.workdir,
      stdin: io.stdin,
      terminal: io.terminal,
      output: io.output,
      clock: this.#world.clock,
      files: this.files,
      memory: this.memory,
      listen: (port, onConnection) => void this.listeners.set(port, onConnection),
      allocate: (bytes) => {
        this.#allocated += bytes
        return this.limits.memory === undefined || this.usedMemory <= this.limits.memory
      },
    })
  }

  /** Ends the main process: signal, grace, SIGKILL. Resolves when all is over. */
  async stop(signal: string, graceMs: number, abort: AbortSignal): Promise<void> {
    const { main } = this
    this.#stopping = true
    if (!main) {
      // It waits to start again by itself.
      if (this.state === 'starting') this.state = 'stopped'
      return
    }
    this.state = 'stopping'
    const over = new AbortController()
    void main.exited.then(() => over.abort())
    main.thaw()
    main.signal(signal)
    await this.#world.clock.sleep(graceMs, AbortSignal.any([abort, over.signal])).catch(() => {})
    main.signal('SIGKILL')
    await this.#over
  }

  pause(): void {
    for (const process of [this.main, ...this.execs]) process?.freeze()
    this.state = 'paused'
    this.emit({ type: 'paused' })
  }

  resume(): void {
    for (const process of [this.main, ...this.execs]) process?.thaw()
    this.state = 'running'
    this.emit({ type: 'resumed' })
  }

  /** The exit of this run or, when it is over, of the last one. */
  wait(signal: AbortSignal): Promise<VMExit> {
    if (this.exit && !this.main) return Promise.resolve(this.exit)
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(signal.reason)
      signal.addEventListener('abort', onAbort, { once: true })
      this.#exits.push((exit) => {
        signal.removeEventListener('abort', onAbort)
        if (exit instanceof VMKitError) reject(exit)
        else resolve(exit)
      })
    })
  }

  /** It is being deleted, or its backend went away: nobody will see its end. */
  abandon(error: VMKitError): void {
    for (const tell of this.#exits.splice(0)) tell(error)
  }

  emit(
    event:
      | { type: 'created' | 'started' | 'paused' | 'resumed' | 'deleted' | 'resized' | 'migrated' }
      | { type: 'stopped'; exit: VMExit }
      | { type: 'renamed'; from: string }
      | { type: 'snapshotted' | 'restored'; tag: string }
      | { type: 'health'; health: VMHealth },
  ): void {
    this.#world.emit({ driver: 'mock', id: this.id, name: this.config.name, at: this.#world.clock.now(), ...event })
  }

  #connect(guest: number, socket: Duplex): void {
    const listener = this.state === 'running' ? this.listeners.get(guest) : undefined
    if (listener) listener(socket)
    else socket.destroy()
  }

  #ended(main: MockProcess, exit: VMExit): void {
    if (this.main !== main) return
    this.main = undefined
    this.exit = exit
    const again = this.#shouldRestart(exit)
    // Not `stopped`: a stop must reach it, or it would start again after somebody stopped it.
    this.state = again ? 'starting' : 'stopped'
    this.health = undefined
    this.listeners.clear()
    closePorts(this.#servers)
    for (const process of this.execs) process.signal('SIGKILL')
    this.logs.flush(this.#world.clock.now())
    this.emit({ type: 'stopped', exit })
    for (const tell of this.#exits.splice(0)) tell(exit)
    if (again) void this.#restart()
  }

  #shouldRestart(exit: VMExit): boolean {
    const { policy = 'no', maxRetries = Number.POSITIVE_INFINITY } = this.config.restart ?? {}
    if (this.#stopping || policy === 'no') return false
    return policy !== 'on-failure' || (exit.code !== 0 && this.#restarts < maxRetries)
  }

  async #restart(): Promise<void> {
    this.#restarts += 1
    await this.#world.clock.sleep(RESTART_DELAY_MS)
    // Somebody may have started, stopped or deleted it meanwhile.
    if (this.state !== 'starting') return
    await this.start().catch(() => {
      this.state = 'stopped'
    })
  }
}

function exitOf(exit: ProcessExit): Omit<VMExit, 'at'> {
  const { code, signal, oom } = exit
  return { code, signal, oom, reason: oom ? 'oom' : signal === null ? 'exited' : 'signalled' }
}

function addressPort(server: Server | undefined): number {
  const address = server?.address()
  return typeof address === 'object' && address ? address.port : 0
}
