import { parseConfig, type VM } from '@vmkit/core'
import type { CallContext } from '@vmkit/core/driver'
import type { Bed, Operation } from './bed.js'

/** From create to delete, and what is asked of a machine in between. */
export function lifecycle({ manager, driver, vm, idle, over, handle }: Bed): Operation[] {
  const { id } = vm
  const grace = { graceMs: 1000 }
  const start = (ctx: CallContext): Promise<void> => driver.start(idle.id, ctx)
  const stop = (ctx: CallContext): Promise<void> => driver.stop(idle.id, grace, ctx)

  const config = { name: 'made', command: ['true'], memory: '64MiB', labels: { made: 'here' } }
  const parsed = parseConfig(config)
  let made: VM
  let madeId = ''
  const make = async (): Promise<void> => {
    made = await manager.create(config, { driver: 'mock' })
    madeId = made.id
  }
  const makeBare = async (ctx: CallContext): Promise<void> => {
    madeId = (await driver.create(parsed, ctx)).id
  }

  return [
    {
      name: 'create',
      ours: make,
      theirs: makeBare,
      after: async (ctx) => {
        // The manager keeps its handles until they are deleted through it.
        if (made?.id === madeId) await made.delete()
        else await driver.delete(madeId, { force: false }, ctx)
      },
    },
    { name: 'delete', before: make, ours: () => made.delete(), theirs: (ctx) => driver.delete(madeId, { force: false }, ctx) },
    {
      name: 'get',
      ours: () => manager.get('mock', 'running'),
      theirs: async (ctx) => driver.getInfo(await driver.find('running', ctx), ctx),
    },
    { name: 'list', ours: () => handle.list(), theirs: (ctx) => driver.list({}, ctx) },
    { name: 'start', ours: () => idle.start(), theirs: start, after: stop },
    { name: 'stop', before: start, ours: () => idle.stop(grace), theirs: stop },
    {
      name: 'restart',
      ours: () => vm.restart(grace),
      async theirs(ctx) {
        await driver.stop(id, grace, ctx)
        await driver.start(id, ctx)
      },
    },
    // A signal that does nothing, so that the machine runs on.
    { name: 'kill', ours: () => vm.kill('SIGCONT'), theirs: (ctx) => driver.kill(id, 'SIGCONT', ctx) },
    { name: 'wait', ours: () => over.wait(), theirs: (ctx) => driver.wait(over.id, ctx) },
    { name: 'pause', ours: () => vm.pause(), theirs: (ctx) => driver.pause(id, ctx), after: (ctx) => driver.resume(id, ctx) },
    { name: 'resume', before: (ctx) => driver.pause(id, ctx), ours: () => vm.resume(), theirs: (ctx) => driver.resume(id, ctx) },
    { name: 'status', ours: () => vm.status(), theirs: (ctx) => driver.getStatus(id, ctx) },
    { name: 'info', ours: () => vm.info(), theirs: (ctx) => driver.getInfo(id, ctx) },
    { name: 'metrics', ours: () => vm.metrics(), theirs: (ctx) => driver.getMetrics(id, ctx) },
    { name: 'resize', ours: () => vm.resize({ cpus: 2 }), theirs: (ctx) => driver.resize(id, { cpus: 2 }, ctx) },
  ]
}
