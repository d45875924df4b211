import { type CallContext, type DriverOperations, deferred, type ResizeRequest, type VMDriver } from '@vmkit/core/driver'
import type { capabilities } from './capabilities.js'
import { createContainer } from './create.js'
import { engineFinder } from './engine.js'
import { readEvents } from './events.js'
import { infoOf, statusOf, summaryOf } from './inspect.js'
import { nameOf } from './labels.js'
import { kill, remove, start, stop } from './lifecycle.js'
import { type Machines, machines as machinesOf } from './machines.js'
import { refOf } from './missing.js'
import type { DockerOptions } from './options.js'
import { probe } from './probe.js'
import { wait } from './wait.js'

type Operations = DriverOperations<typeof capabilities> & Required<Pick<VMDriver, 'find' | 'close'>>

/** What a plain job does not need; its code is loaded when one of these is called. */
export const EXTRAS = [
  'getMetrics',
  'execStream',
  'logs',
  'attach',
  'files.read',
  'files.write',
  'files.list',
  'files.remove',
  'files.pack',
  'files.unpack',
  'snapshot',
  'restore',
  'listSnapshots',
  'deleteSnapshot',
  'clone',
  'prepareIncoming',
  'migrateOut',
  'finishIncoming',
  'cancelIncoming',
  'exportBundle',
  'importBundle',
  'images.pull',
  'images.list',
  'images.remove',
  'images.import',
  'images.export',
  'images.build',
  'volumes.create',
  'volumes.list',
  'volumes.remove',
  'networks.create',
  'networks.list',
  'networks.remove',
] as const

/** All that the driver does; what it says of itself is in `driver.ts`. */
export function operations(options: DockerOptions): Operations {
  const finder = engineFinder(options)
  const machines = machinesOf(finder)
  const { registries } = options

  return {
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
    events: (ctx) => readEvents(machines, ctx),
    resize: (id, request, ctx) => resize(machines, id, request, ctx),
    rename: (id, name, ctx) => rename(machines, id, name, ctx),

    ...deferred(async () => (await import('./extras.js')).extras(machines, registries), EXTRAS),

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
