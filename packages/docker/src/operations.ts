import type { CallContext, ResizeRequest, VMDriver } from '@vmkit/core/driver'
import { createContainer } from './create.js'
import { engineFinder } from './engine.js'
import { readEvents } from './events.js'
import type { Extras } from './extras.js'
import { infoOf, statusOf, summaryOf } from './inspect.js'
import { nameOf } from './labels.js'
import { kill, remove, start, stop, wait } from './lifecycle.js'
import { type Machines, machines as machinesOf } from './machines.js'
import { refOf } from './missing.js'
import type { DockerOptions } from './options.js'
import { probe } from './probe.js'

type Life = 'probe' | 'create' | 'start' | 'stop' | 'kill' | 'delete' | 'getStatus' | 'getInfo' | 'list' | 'find' | 'wait' | 'close'

export interface Operations extends Required<Pick<VMDriver, Life | 'pause' | 'resume' | 'resize' | 'rename' | 'events'>> {
  /** The rest, whose code is loaded when it is asked for. */
  extras(): Promise<Extras>
}

/** The life of a machine: what every job needs. */
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

    extras: async () => (await import('./extras.js')).extras(machines, registries),
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
