import { existsSync } from 'node:fs'
import { type CallContext, invalidConfig, type MachineConfig, type MachineRef, VMKitError } from '@vmkit/core/driver'
import type { MockBackend } from './backend.js'
import { mockBundles } from './bundle.js'
import { capabilities } from './capabilities.js'
import { attachTo, execIn } from './exec.js'
import { ensureImage, enterCall, mockImages } from './images.js'
import { Machine, type SavedState } from './machine.js'
import { machineFiles } from './machine-files.js'
import { mockMigration } from './migration.js'
import { mockNetworks, mockVolumes } from './named.js'
import { type MockDriver, type MockOptions, readOptions } from './options.js'
import { infoOf, snapshotInfo, statusOf, summaryOf } from './views.js'

export { MockBackend, type MockBackendOptions, mockBackend } from './backend.js'
export { type Clock, type FakeClock, fakeClock, realClock } from './clock.js'
export type { Fault, Latency } from './faults.js'
export type { FileTree } from './file-tree.js'
export type { MockDriver, MockOptions } from './options.js'
export type { Program, ProgramIO, ProgramOutput } from './programs.js'

const fields = Object.freeze([
  'command',
  'args',
  'env',
  'workdir',
  'user',
  'tty',
  'stop',
  'files',
  'rootfs',
  'disk',
  'kernel',
  'cloudInit',
] as const)

/** A driver whose machines live in this process: their programs are functions, their files a map, their ports real. */
export function mock(options: MockOptions = {}): MockDriver & { readonly backend: ReturnType<typeof readOptions>['backend'] } {
  const { backend, without } = readOptions(options)
  const enter = (operation: string, ctx: CallContext) => enterCall(backend, operation, ctx)
  /** A method on one machine: the backend is asked, latency and faults strike, the machine is looked up. */
  const on = async (operation: string, id: string, ctx: CallContext): Promise<Machine> => {
    await enter(operation, ctx)
    return backend.get(id)
  }

  return {
    name: 'mock',
    apiVersion: 1,
    capabilities,
    fields,
    durability: 'app',
    isolation: 'none',
    backend,

    async probe(ctx) {
      if (backend.isDown) return { available: false, reason: 'the mock backend is disconnected', missing: without }
      await enter('probe', ctx)
      return { available: true, engine: 'mock', missing: { vnc: 'a mock machine has no screen', ...without } }
    },

    async create(config, ctx) {
      await enter('create', ctx)
      checkSurroundings(backend, config)
      if (config.image !== undefined) await ensureImage(backend, config.image, config.pull, ctx)
      const machine = new Machine(config, backend.surroundings)
      backend.add(machine)
      machine.emit({ type: 'created' })
      return { id: machine.id }
    },

    async start(id, ctx) {
      const death = await enter('start', ctx)
      const machine = backend.get(id)
      if (!machine.isActive) await machine.start(death)
    },

    async stop(id, { signal = 'SIGTERM', graceMs }, ctx) {
      const machine = await on('stop', id, ctx)
      await machine.stop(signal, graceMs, ctx.signal)
    },

    async kill(id, signal, ctx) {
      const machine = await on('kill', id, ctx)
      machine.main?.signal(signal)
    },

    async delete(id, { force }, ctx) {
      const machine = await on('delete', id, ctx)
      if (machine.isActive && !force) throw new VMKitError('INVALID_STATE', `Cannot delete a machine that is \`${machine.state}\``)
      await machine.stop('SIGKILL', 0, ctx.signal)
      if (!backend.machines.delete(id)) return
      machine.abandon(notFound(id))
      machine.logs.wake()
      machine.emit({ type: 'deleted' })
    },

    async getStatus(id, ctx) {
      return statusOf(await on('getStatus', id, ctx))
    },

    async getInfo(id, ctx) {
      return infoOf(await on('getInfo', id, ctx))
    },

    async getMetrics(id, ctx) {
      const machine = await on('getMetrics', id, ctx)
      return {
        at: backend.clock.now(),
        memory: { usedBytes: machine.usedMemory, limitBytes: machine.limits.memory ?? null },
        pids: 1 + machine.execs.size,
        source: 'mock',
      }
    },

    async list(_filter, ctx) {
      await enter('list', ctx)
      return [...backend.machines.values()].map(summaryOf)
    },

    async wait(id, ctx) {
      const machine = await on('wait', id, ctx)
      return machine.wait(ctx.signal)
    },

    async find(idOrName, ctx) {
      await enter('find', ctx)
      return backend.get(backend.resolve(idOrName)).id
    },

    async pause(id, ctx) {
      const machine = await on('pause', id, ctx)
      if (machine.state === 'running') machine.pause()
    },

    async resume(id, ctx) {
      const machine = await on('resume', id, ctx)
      if (machine.state === 'paused') machine.resume()
    },

    async execStream(id, request, ctx) {
      const machine = await on('exec', id, ctx)
      if (machine.state !== 'running') throw new VMKitError('INVALID_STATE', `Cannot exec in a machine that is \`${machine.state}\``)
      return execIn(backend, machine, request)
    },

    async *logs(id, options, ctx) {
      const machine = await on('logs', id, ctx)
      const isOver = (): boolean => !machine.main || !backend.machines.has(id)
      yield* machine.logs.read(options, isOver, () => backend.check(), ctx.signal)
    },

    async attach(id, ctx) {
      return attachTo(await on('attach', id, ctx))
    },

    async console(id, ctx) {
      return attachTo(await on('console', id, ctx))
    },

    events(ctx) {
      backend.check()
      return backend.subscribe(ctx.signal)
    },

    files: machineFiles(on, backend.clock),

    async resize(id, request, ctx) {
      const machine = await on('resize', id, ctx)
      Object.assign(machine.limits, request)
      machine.emit({ type: 'resized' })
    },

    async rename(id, name, ctx) {
      backend.rename(await on('rename', id, ctx), name)
    },

    async attachDevice(id, device, ctx) {
      const { devices } = await on('attachDevice', id, ctx)
      const deviceId = device.id ?? `device-${devices.size}`
      if (devices.has(deviceId))
        throw new VMKitError('ALREADY_EXISTS', `The machine has a device ${deviceId} already`, { field: 'device.id' })
      devices.set(deviceId, device)
      return deviceId
    },

    async detachDevice(id, deviceId, ctx) {
      const { devices } = await on('detachDevice', id, ctx)
      if (!devices.delete(deviceId)) throw new VMKitError('NOT_FOUND', `The machine has no device ${deviceId}`)
    },

    volumes: mockVolumes(backend),
    networks: mockNetworks(backend),
    images: mockImages(backend),

    async snapshot(id, tag, { memory }, ctx) {
      const machine = await on('snapshot', id, ctx)
      if (machine.snapshots.has(tag)) throw new VMKitError('ALREADY_EXISTS', `The machine has a snapshot ${tag} already`, { field: 'tag' })
      if (memory && !machine.isActive) throw new VMKitError('INVALID_STATE', `A machine that is \`${machine.state}\` has no memory to save`)
      const saved: SavedState = {
        tag,
        createdAt: backend.clock.now(),
        disk: machine.disk.copy(),
        ...(memory ? { memory: structuredClone(machine.memory), paused: machine.state === 'paused' } : {}),
      }
      machine.snapshots.set(tag, saved)
      machine.emit({ type: 'snapshotted', tag })
      return snapshotInfo(saved)
    },

    async restore(id, tag, ctx) {
      const machine = await on('restore', id, ctx)
      const saved = savedState(machine, tag)
      await machine.stop('SIGKILL', 0, ctx.signal)
      machine.disk = saved.disk.copy()
      machine.memory = structuredClone(saved.memory ?? new Map())
      if (saved.memory) {
        await machine.start()
        if (saved.paused) machine.pause()
      }
      machine.emit({ type: 'restored', tag })
      return { id }
    },

    async listSnapshots(id, ctx) {
      const machine = await on('listSnapshots', id, ctx)
      return [...machine.snapshots.values()].map(snapshotInfo)
    },

    async deleteSnapshot(id, tag, ctx) {
      const machine = await on('deleteSnapshot', id, ctx)
      machine.snapshots.delete(savedState(machine, tag).tag)
    },

    async clone(id, { tag, name, labels }, ctx): Promise<MachineRef> {
      const source = await on('clone', id, ctx)
      const saved = savedState(source, tag)
      const reason = without['clone.memory']
      if (saved.memory && reason !== undefined) throw new VMKitError('UNSUPPORTED', reason, { capability: 'clone.memory' })
      const userLabels = Object.entries(source.config.labels).filter(([key]) => !key.startsWith('vmkit.'))
      // Host ports that were asked for by number stay with the original.
      const ports = source.config.ports.map((port) => ({ ...port, host: 0 }))
      const config = { ...source.config, name, ports, files: [], labels: { ...Object.fromEntries(userLabels), ...labels } }
      const machine = new Machine(config, backend.surroundings, saved)
      backend.add(machine)
      machine.emit({ type: 'created' })
      if (saved.memory) await machine.start()
      return { id: machine.id }
    },

    ...mockMigration(backend),
    ...mockBundles(backend),

    async close() {},
  }
}

/** @throws VMKitError naming the mount or network that is not there */
function checkSurroundings(backend: MockBackend, config: MachineConfig): void {
  for (const [index, { source }] of config.mounts.entries()) {
    if (!existsSync(source)) throw invalidConfig(`config.mounts.${index}.source`, 'a folder of this host', source)
  }
  for (const [index, { name }] of config.networks.entries()) {
    if (!backend.networks.has(name))
      throw new VMKitError('NOT_FOUND', `There is no network ${name}`, { field: `config.networks.${index}.name` })
  }
}

function savedState(machine: Machine, tag: string): SavedState {
  const saved = machine.snapshots.get(tag)
  if (saved) return saved
  throw new VMKitError('NOT_FOUND', `The machine ${machine.config.name} has no snapshot ${tag}`, { vmId: machine.id })
}

function notFound(id: string): VMKitError {
  return new VMKitError('NOT_FOUND', `The machine ${id} was deleted`, { vmId: id })
}
