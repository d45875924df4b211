/** A driver without a backend, to test the manager with: every capability, plain state in a map, and a list of its calls. */
import { setTimeout as sleep } from 'node:timers/promises'
import { CAPABILITIES, type Capability } from '../src/capabilities.js'
import type { MachineConfig } from '../src/config/types.js'
import type { CallContext, HostProbe, MigrationTicket, VMDriver } from '../src/driver.js'
import { VMKitError } from '../src/errors.js'
import type { ExecSession, OutputChunk, TerminalSession, VMExit, VMState } from '../src/machine.js'
import { channel } from '../src/streams/channel.js'

export interface FakeMachine {
  id: string
  config: MachineConfig
  state: VMState
  exit?: VMExit
  waiters: ((exit: VMExit) => void)[]
  snapshots: string[]
}

/** All of them surely, except events. */
export type FakeCapabilities = { readonly [K in Capability]: K extends 'events' ? 'probe' : true }

export interface FakeDriver extends VMDriver<FakeCapabilities> {
  readonly machines: Map<string, FakeMachine>
  /** Names of the methods that were called, in order; `getStatus` and `probe` left out. */
  readonly calls: string[]
  /** Ends a machine from outside. */
  end(id: string, exit?: Partial<VMExit>): void
}

export interface FakeOptions {
  name?: string
  /** Replaces methods. */
  overrides?: Partial<VMDriver>
  /** Capabilities it does not claim. */
  without?: readonly Capability[]
  probe?: Partial<HostProbe>
}

const KILLED: VMExit = { code: null, signal: 'SIGKILL', oom: false, reason: 'signalled', at: 1 }

/** Resolves never; rejects when the call is aborted, like a driver that keeps the contract. */
export function untilAborted(ctx: CallContext): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (ctx.signal.aborted) reject(ctx.signal.reason)
    ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason), { once: true })
  })
}

export function fakeDriver({ name = 'fake', overrides = {}, without = [], probe = {} }: FakeOptions = {}): FakeDriver {
  const machines = new Map<string, FakeMachine>()
  const incoming = new Map<string, MachineConfig>()
  const calls: string[] = []
  let serial = 0

  function get(id: string): FakeMachine {
    const machine = machines.get(id)
    if (!machine) throw new VMKitError('NOT_FOUND', `No machine ${id}`, { driver: name, vmId: id })
    return machine
  }
  function add(config: MachineConfig, state: VMState = 'created'): { id: string } {
    if ([...machines.values()].some((machine) => machine.config.name === config.name)) {
      throw new VMKitError('ALREADY_EXISTS', `The name ${config.name} is taken`, { driver: name })
    }
    serial += 1
    const id = `${name}-${serial}`
    machines.set(id, { id, config, state, waiters: [], snapshots: [] })
    return { id }
  }
  function end(id: string, exit: Partial<VMExit> = {}): void {
    const machine = get(id)
    machine.state = 'stopped'
    machine.exit = { ...KILLED, ...exit }
    for (const wake of machine.waiters.splice(0)) wake(machine.exit)
  }
  const copyOf = (config: MachineConfig, newName: string, labels: Record<string, string>): MachineConfig => ({
    ...config,
    name: newName,
    labels,
  })

  const methods: Omit<VMDriver, 'name' | 'apiVersion' | 'capabilities' | 'fields' | 'durability' | 'isolation'> = {
    async probe() {
      return { available: true, missing: { events: 'the fake has no events' }, ...probe }
    },
    async create(config) {
      return add(config)
    },
    async start(id) {
      get(id).state = 'running'
    },
    async stop(id) {
      end(id)
    },
    async kill(id) {
      end(id)
    },
    async delete(id) {
      get(id)
      machines.delete(id)
    },
    async getStatus(id) {
      const { state, exit } = get(id)
      return { state, exit }
    },
    async getInfo(id) {
      const { config, state, exit } = get(id)
      return {
        id,
        name: config.name,
        driver: name,
        state,
        exit,
        labels: config.labels,
        createdAt: 1,
        config,
        addresses: [],
        ports: config.ports.map((port) => ({ ...port })),
        startedAt: null,
        pid: null,
      }
    },
    async getMetrics(id) {
      get(id)
      const memory = { usedBytes: 1, limitBytes: null }
      return { at: 1, cpu: { usageMs: 1, userMs: null, systemMs: null }, memory, pids: 1, network: null, disk: null, source: 'fake' }
    },
    async list() {
      return [...machines.values()].map(({ id, config, state }) => {
        return { id, name: config.name, driver: name, state, labels: config.labels, createdAt: 1 }
      })
    },
    wait(id, ctx) {
      const machine = get(id)
      if (machine.exit) return Promise.resolve(machine.exit)
      return Promise.race([untilAborted(ctx), new Promise<VMExit>((resolve) => machine.waiters.push(resolve))])
    },
    async close() {},
    async pause(id) {
      get(id).state = 'paused'
    },
    async resume(id) {
      get(id).state = 'running'
    },
    async execStream(id, request) {
      get(id)
      return fakeSession(request.command)
    },
    async *logs(id, options, ctx) {
      const machine = get(id)
      for (const text of ['one', 'two']) yield { source: 'stdout', text, at: null, cursor: text }
      if (options.follow && machine.state === 'running') {
        await Promise.race([untilAborted(ctx), new Promise<VMExit>((resolve) => machine.waiters.push(resolve))])
      }
    },
    async attach(id) {
      get(id)
      return fakeTerminal()
    },
    async console(id) {
      get(id)
      return fakeTerminal()
    },
    async vnc() {
      return { host: '127.0.0.1', port: 1 }
    },
    async screenshot() {
      return new Uint8Array(1)
    },
    events: (ctx) => ({ [Symbol.asyncIterator]: () => ({ next: () => untilAborted(ctx) }) }),
    files: {
      async *read() {
        yield Buffer.from('content')
      },
      async write(_id, _path, content) {
        for await (const _chunk of content);
      },
      async list() {
        return []
      },
      async remove() {},
      async *pack() {
        yield Buffer.from('tar')
      },
      async unpack(_id, _path, tar) {
        for await (const _chunk of tar);
      },
    },
    async resize() {},
    async rename(id, newName) {
      const machine = get(id)
      if ([...machines.values()].some((other) => other !== machine && other.config.name === newName))
        throw new VMKitError('ALREADY_EXISTS', `The name ${newName} is taken`, { driver: name })
      machine.config = { ...machine.config, name: newName }
    },
    async attachDevice(_id, device) {
      return device.id ?? 'device'
    },
    async detachDevice() {},
    networks: {
      async create(network, labels) {
        return { name: network, id: network, labels }
      },
      async list() {
        return []
      },
      async remove() {},
    },
    volumes: {
      async create(volume, labels) {
        return { name: volume, labels, createdAt: null }
      },
      async list() {
        return []
      },
      async remove() {},
    },
    async snapshot(id, tag, { memory }) {
      get(id).snapshots.push(tag)
      return { tag, memory, createdAt: 1, sizeBytes: null }
    },
    async restore(id, tag) {
      const machine = get(id)
      if (!machine.snapshots.includes(tag)) throw new VMKitError('NOT_FOUND', `No snapshot ${tag}`)
      machines.delete(id)
      const ref = add(machine.config, 'stopped')
      get(ref.id).snapshots = machine.snapshots
      return ref
    },
    async listSnapshots(id) {
      return get(id).snapshots.map((tag) => ({ tag, memory: false, createdAt: 1, sizeBytes: null }))
    },
    async deleteSnapshot(id, tag) {
      const { snapshots } = get(id)
      snapshots.splice(snapshots.indexOf(tag), 1)
    },
    async clone(id, request) {
      return add(copyOf(get(id).config, request.name, request.labels))
    },
    async prepareIncoming({ config }): Promise<MigrationTicket> {
      incoming.set(config.name, config)
      return { driver: name, id: config.name }
    },
    async migrateOut(id, _ticket, { live }) {
      if (live) get(id).state = 'stopped'
      return { downtimeMs: 3, bytes: 7, details: { rounds: 2 } }
    },
    async finishIncoming(ticket) {
      const config = incoming.get(ticket.id)
      if (!config) throw new VMKitError('NOT_FOUND', 'No such migration')
      incoming.delete(ticket.id)
      return add(config)
    },
    async cancelIncoming(ticket) {
      incoming.delete(ticket.id)
    },
    async *exportBundle() {
      yield Buffer.from('bundle')
    },
    async importBundle(bundle, options) {
      let text = ''
      for await (const chunk of bundle) text += Buffer.from(chunk).toString()
      return add(copyOf(JSON.parse(text) as MachineConfig, options.name ?? 'imported', options.labels))
    },
    images: {
      async pull({ reference }) {
        return { reference, id: 'image', sizeBytes: null, createdAt: null }
      },
      async list() {
        return []
      },
      async remove() {},
      async import(archive, reference = 'imported') {
        for await (const _chunk of archive);
        return { reference, id: 'image', sizeBytes: null, createdAt: null }
      },
      async *export(reference) {
        yield Buffer.from(reference)
      },
      async build({ tag }) {
        return { reference: tag, id: 'image', sizeBytes: null, createdAt: null }
      },
    },
  }

  const recorded = Object.fromEntries(
    Object.entries({ ...methods, ...overrides }).map(([key, value]) => {
      if (typeof value !== 'function' || key === 'getStatus' || key === 'probe') return [key, value]
      const recording = (...args: unknown[]): unknown => {
        calls.push(key)
        return (value as (...rest: unknown[]) => unknown)(...args)
      }
      return [key, recording]
    }),
  ) as unknown as typeof methods
  const claims = CAPABILITIES.filter((capability) => !without.includes(capability))
  const base = {
    ...recorded,
    name,
    apiVersion: 1 as const,
    capabilities: Object.fromEntries(
      claims.map((capability) => [capability, capability === 'events' ? 'probe' : true]),
    ) as unknown as FakeCapabilities,
    fields: ['image', 'command', 'args', 'env', 'workdir', 'user', 'tty', 'stop', 'files'] as const,
    durability: 'app' as const,
    isolation: 'none' as const,
  }
  return { ...withoutMethods(base, without), machines, calls, end }
}

function withoutMethods<T extends VMDriver>(driver: T, without: readonly Capability[]): T {
  const copy = { ...driver }
  if (without.includes('pause')) delete copy.pause
  if (without.includes('pause')) delete copy.resume
  if (without.includes('logs')) delete copy.logs
  if (without.includes('exec') && without.includes('exec.stream')) delete copy.execStream
  if (without.includes('bundle')) delete copy.exportBundle
  if (without.includes('bundle')) delete copy.importBundle
  if (without.includes('events')) delete copy.events
  if (without.includes('rename')) delete copy.rename
  return copy
}

/**
 * Commands: `echo words…` writes them; `cat` writes back its stdin; `spam n` writes n bytes to both streams; `sleep` runs
 * until it is killed; `exit n` exits with n; `deaf` exits at once and reads nothing.
 */
export function fakeSession(command: readonly string[]): ExecSession & { disposed: boolean; killed: boolean } {
  const output = channel<OutputChunk>()
  const [program, ...args] = command
  let finish = (_exit: { exitCode: number | null; signal: string | null }): void => {}
  const exited = new Promise<{ exitCode: number | null; signal: string | null }>((resolve) => {
    finish = (exit) => {
      output.end()
      resolve(exit)
    }
  })
  const write = (source: 'stdout' | 'stderr', data: string | Uint8Array) => output.write({ source, data: Buffer.from(data as string) })
  const session = {
    disposed: false,
    killed: false,
    output,
    stdin: {
      async write(data: string | Uint8Array): Promise<void> {
        if (program === 'deaf') throw new Error('EPIPE')
        if (program === 'cat') await write('stdout', data)
      },
      async end(): Promise<void> {
        if (program === 'cat') finish({ exitCode: 0, signal: null })
      },
    },
    async resize(): Promise<void> {},
    async kill(signal = 'SIGKILL'): Promise<void> {
      session.killed = true
      finish({ exitCode: null, signal })
    },
    wait: () => exited,
    async [Symbol.asyncDispose](): Promise<void> {
      session.disposed = true
      finish({ exitCode: null, signal: 'SIGKILL' })
    },
  }
  void (async () => {
    if (program === 'echo') await write('stdout', args.join(' '))
    if (program === 'spam') {
      await write('stdout', 'o'.repeat(Number(args[0])))
      await write('stderr', 'e'.repeat(Number(args[0])))
    }
    if (program === 'exit') finish({ exitCode: Number(args[0]), signal: null })
    else if (program !== 'cat' && program !== 'sleep') finish({ exitCode: 0, signal: null })
  })()
  return session
}

function fakeTerminal(): TerminalSession {
  const output = channel<OutputChunk>()
  return {
    output,
    stdin: { write: async () => {}, end: async () => {} },
    resize: async () => {},
    close: async () => output.end(),
    [Symbol.asyncDispose]: async () => output.end(),
  }
}

/** Lets everything that is already decided happen. */
export function settled(): Promise<void> {
  return sleep(0)
}
