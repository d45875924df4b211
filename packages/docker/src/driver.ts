import type { CallContext, ResizeRequest, VMDriver } from '@vmkit/core/driver'
import { attach } from './attach.js'
import { exportBundle, importBundle } from './bundle.js'
import { capabilities } from './capabilities.js'
import { createContainer } from './create.js'
import { engineFinder } from './engine.js'
import { readEvents } from './events.js'
import { execStream } from './exec.js'
import { dockerFiles } from './files.js'
import { dockerImages } from './images.js'
import { infoOf, statusOf, summaryOf } from './inspect.js'
import { nameOf } from './labels.js'
import { kill, remove, start, stop, wait } from './lifecycle.js'
import { readLogs } from './logs.js'
import { type Machines, machines as machinesOf } from './machines.js'
import { readMetrics } from './metrics.js'
import { cancelIncoming, finishIncoming, migrateOut, prepareIncoming } from './migrate.js'
import { refOf } from './missing.js'
import { type DockerOptions, parseOptions } from './options.js'
import { probe } from './probe.js'
import { clone, deleteSnapshot, listSnapshots, restore, snapshot } from './snapshots.js'
import { dockerNetworks, dockerVolumes } from './volumes.js'

export type { DockerMachineOptions, Healthcheck } from './machine-options.js'
export type { DockerOptions, RegistryAuth } from './options.js'
export { capabilities }

const FIELDS = Object.freeze(['command', 'args', 'env', 'workdir', 'user', 'tty', 'stop', 'files', 'devices', 'driverOptions'] as const)

/** What the engine refuses in the states in which core's table forbids it. */
const GUARDS = Object.freeze(['start', 'stop', 'kill', 'pause', 'resume', 'delete', 'exec', 'rename'] as const)

export type DockerDriver = VMDriver<typeof capabilities>

/** Docker Engine, or Podman's Docker API. Touches no host until the first call. */
export function docker(options?: DockerOptions): DockerDriver {
  const parsed = parseOptions(options)
  const finder = engineFinder(parsed)
  const machines = machinesOf(finder)
  const { registries } = parsed

  return {
    name: 'docker',
    apiVersion: 1,
    capabilities,
    fields: FIELDS,
    durability: 'host',
    isolation: 'container',
    guards: GUARDS,

    probe: (ctx) => probe(finder, ctx),
    async create(config, ctx) {
      const id = await createContainer(await machines.engine(ctx), registries, config, ctx)
      machines.made(id)
      return refOf(id, config)
    },
    start: (id, ctx) => start(machines, id, ctx),
    stop: (id, stopOptions, ctx) => stop(machines, id, stopOptions, ctx),
    kill: (id, signal, ctx) => kill(machines, id, signal, ctx),
    delete: (id, { force }, ctx) => remove(machines, id, force, ctx),
    getStatus: async (id, ctx) => statusOf(await machines.inspect(id, ctx)),
    async getInfo(id, ctx) {
      const container = await machines.inspect(id, ctx)
      return infoOf(container, await machines.engine(ctx))
    },
    getMetrics: (id, ctx) => readMetrics(machines, id, ctx),
    async list(_filter, ctx) {
      return (await machines.listed(await machines.engine(ctx), ctx)).map(summaryOf)
    },
    async find(idOrName, ctx) {
      const all = await machines.listed(await machines.engine(ctx), ctx)
      return all.find(({ Id, Names, Labels }) => Id === idOrName || nameOf(Labels, Names[0] ?? '') === idOrName)?.Id ?? idOrName
    },
    wait: (id, ctx) => wait(machines, id, ctx),

    pause: (id, ctx) => freeze(machines, id, 'pause', ctx),
    resume: (id, ctx) => freeze(machines, id, 'unpause', ctx),
    execStream: (id, request, ctx) => execStream(machines, id, request, ctx),
    logs: (id, logOptions, ctx) => readLogs(machines, id, logOptions, ctx),
    attach: (id, ctx) => attach(machines, id, ctx),
    events: (ctx) => readEvents(machines, ctx),
    files: dockerFiles(machines),
    resize: (id, request, ctx) => resize(machines, id, request, ctx),
    rename: (id, name, ctx) => rename(machines, id, name, ctx),
    snapshot: (id, tag, snapshotOptions, ctx) => snapshot(machines, id, tag, snapshotOptions, ctx),
    restore: (id, tag, ctx) => restore(machines, id, tag, ctx),
    listSnapshots: (id, ctx) => listSnapshots(machines, id, ctx),
    deleteSnapshot: (id, tag, ctx) => deleteSnapshot(machines, id, tag, ctx),
    clone: (id, request, ctx) => clone(machines, id, request, ctx),
    prepareIncoming: (offer, ctx) => prepareIncoming(machines, offer, ctx),
    migrateOut: (id, ticket, migrateOptions, ctx) => migrateOut(machines, id, ticket, migrateOptions, ctx),
    finishIncoming: (ticket, ctx) => finishIncoming(machines, ticket, ctx),
    cancelIncoming: (ticket, ctx) => cancelIncoming(machines, ticket, ctx),
    exportBundle: (id, ctx) => exportBundle(machines, id, ctx),
    importBundle: (bundle, importOptions, ctx) => importBundle(machines, registries, bundle, importOptions, ctx),
    images: dockerImages(machines, registries),
    volumes: dockerVolumes(machines),
    networks: dockerNetworks(machines),

    async close() {
      finder.close()
    },
  }
}

/** Resolves when it is in that state already. */
async function freeze(machines: Machines, id: string, verb: 'pause' | 'unpause', ctx: CallContext): Promise<void> {
  const { engine, path } = await machines.find(id, ctx)
  try {
    await engine.json({ method: 'POST', path: `${path}/${verb}`, signal: ctx.signal, context: { vmId: id } })
  } catch (error) {
    const { State } = await machines.inspect(id, ctx)
    if (!(State.Running && State.Paused === (verb === 'pause'))) throw error
  }
}

/** The engine goes on with a rename whose client has left, so it is not aborted: the caller is to hear of it. */
async function rename(machines: Machines, id: string, name: string, ctx: CallContext): Promise<void> {
  const { engine, path } = await machines.at(id, ctx)
  ctx.signal.throwIfAborted()
  try {
    await engine.json({ method: 'POST', path: `${path}/rename`, query: { name }, context: { vmId: id } })
  } catch (error) {
    const { Config, Name } = await machines.inspect(id, ctx)
    if (nameOf(Config.Labels, Name) !== name) throw error
  }
}

async function resize(machines: Machines, id: string, { cpus, memory, pids }: ResizeRequest, ctx: CallContext): Promise<void> {
  const { engine, path } = await machines.find(id, ctx)
  await engine.json({
    method: 'POST',
    path: `${path}/update`,
    body: {
      ...(cpus === undefined ? {} : { NanoCpus: Math.round(cpus * 1e9) }),
      ...(memory === undefined ? {} : { Memory: memory, MemorySwap: memory }),
      ...(pids === undefined ? {} : { PidsLimit: pids }),
    },
    signal: ctx.signal,
    context: { vmId: id },
  })
}
