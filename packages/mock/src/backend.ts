import {
  type Channel,
  channel,
  type ImageInfo,
  type MachineConfig,
  type NetworkInfo,
  type VMEvent,
  type VMHealth,
  VMKitError,
  type VolumeInfo,
} from '@vmkit/core/driver'
import { type Clock, realClock } from './clock.js'
import { type Fault, type Latency, Weather } from './faults.js'
import { MemoryFiles } from './file-tree.js'
import type { Machine, Surroundings } from './machine.js'
import { BUILT_IN, type Program } from './programs.js'

export interface MockBackendOptions {
  /** Default: the real time. */
  clock?: Clock
  /** How long calls take, for all or by operation. Default 0. */
  latency?: Latency | Readonly<Record<string, Latency>>
  /** For latencies that are drawn. Default 1. */
  seed?: number
  /** Programs that machines can run beside the built-in ones. */
  programs?: Readonly<Record<string, Program>>
  /** Image references that can be pulled. Default: every one. */
  registry?: readonly string[]
}

/** The "engine" of the mock: all machines, shared by the driver instances made over it. */
export class MockBackend {
  readonly clock: Clock
  readonly weather: Weather
  readonly machines = new Map<string, Machine>()
  readonly images = new Map<string, ImageInfo>()
  readonly volumes = new Map<string, VolumeInfo>()
  readonly #volumeFiles = new Map<string, MemoryFiles>()
  readonly networks = new Map<string, NetworkInfo>()
  /** Machines on their way here: no one sees them before they arrive. */
  readonly incoming = new Map<string, { config: MachineConfig; machine?: Machine }>()
  readonly #programs: Readonly<Record<string, Program>>
  readonly #registry: readonly string[] | undefined
  readonly #readers = new Set<Channel<VMEvent>>()
  #down = false

  constructor(options: MockBackendOptions = {}) {
    this.clock = options.clock ?? realClock
    this.weather = new Weather(this.clock, options.latency ?? 0, options.seed ?? 1)
    this.#programs = { ...BUILT_IN, ...options.programs }
    this.#registry = options.registry
  }

  // — what tests do to it —

  /** Makes a coming call fail, take longer, or its machine die. */
  inject(fault: Fault): void {
    this.weather.inject(fault)
  }

  /** The engine goes away: every call fails with `BACKEND_UNAVAILABLE`, every stream and wait with it. Machines run on. */
  disconnect(): void {
    this.#down = true
    for (const reader of this.#readers) reader.end(unavailable())
    for (const machine of this.machines.values()) {
      machine.abandon(unavailable())
      machine.logs.wake()
    }
  }

  reconnect(): void {
    this.#down = false
  }

  setHealth(idOrName: string, health: VMHealth): void {
    const machine = this.get(this.resolve(idOrName))
    machine.health = health
    machine.emit({ type: 'health', health })
  }

  // — what the driver asks of it —

  get isDown(): boolean {
    return this.#down
  }

  check(): void {
    if (this.#down) throw unavailable()
  }

  /** @throws VMKitError `NOT_FOUND` */
  get(id: string): Machine {
    const machine = this.machines.get(id)
    if (machine) return machine
    throw new VMKitError('NOT_FOUND', `There is no machine ${JSON.stringify(id)}`, { vmId: id })
  }

  resolve(idOrName: string): string {
    if (this.machines.has(idOrName)) return idOrName
    return [...this.machines.values()].find((machine) => machine.config.name === idOrName)?.id ?? idOrName
  }

  /** @throws VMKitError `ALREADY_EXISTS` */
  add(machine: Machine): void {
    this.#requireFree(machine.config.name, 'config.name')
    this.machines.set(machine.id, machine)
  }

  /** @throws VMKitError `ALREADY_EXISTS` */
  rename(machine: Machine, name: string): void {
    const from = machine.config.name
    if (name === from) return
    this.#requireFree(name, 'name')
    machine.config = { ...machine.config, name }
    machine.emit({ type: 'renamed', from })
  }

  #requireFree(name: string, field: string): void {
    for (const { config } of this.machines.values()) {
      if (config.name === name) throw new VMKitError('ALREADY_EXISTS', `There is a machine named ${name} already`, { field })
    }
  }

  get surroundings(): Surroundings {
    return {
      clock: this.clock,
      program: (name) => this.program(name),
      volume: (name) => this.volume(name),
      emit: (event) => this.emit(event),
    }
  }

  program(name: string): Program | undefined {
    return Object.hasOwn(this.#programs, name) ? this.#programs[name] : undefined
  }

  /** A volume by name, made when there is none. */
  volume(name: string): MemoryFiles {
    if (!this.volumes.has(name)) this.volumes.set(name, { name, labels: {}, createdAt: this.clock.now() })
    const files = this.#volumeFiles.get(name) ?? new MemoryFiles()
    this.#volumeFiles.set(name, files)
    return files
  }

  dropVolume(name: string): void {
    this.volumes.delete(name)
    this.#volumeFiles.delete(name)
  }

  canPull(reference: string): boolean {
    return this.#registry === undefined || this.#registry.includes(reference)
  }

  emit(event: VMEvent): void {
    for (const reader of this.#readers) void reader.write(event)
  }

  subscribe(signal: AbortSignal): AsyncIterable<VMEvent> {
    const reader: Channel<VMEvent> = channel({ capacity: Number.POSITIVE_INFINITY, onClose: () => this.#readers.delete(reader) })
    this.#readers.add(reader)
    signal.addEventListener('abort', () => reader.end(), { once: true })
    return reader
  }
}

export function mockBackend(options?: MockBackendOptions): MockBackend {
  return new MockBackend(options)
}

function unavailable(): VMKitError {
  return new VMKitError('BACKEND_UNAVAILABLE', 'The mock backend is disconnected')
}
