/** What the driver's methods do. `compose.ts` loads this with the first call: an app that only imports the driver pays none of it. */
import { type DriverOperations, deferred, lazily, type VMDriver } from '@vmkit/core/driver'
import type { ContainerdCapabilities } from './capabilities.js'
import { fifoPool } from './exec/fifos.js'
import { connection } from './grpc/connection.js'
import { findByName, findMachine, type Host, listMachines, taskOf } from './host.js'
import { imageAccess } from './images/access.js'
import { infoOf, statusOf, summaryOf } from './inspect.js'
import { logKeeper } from './logs/cap.js'
import { inNamespace } from './namespace.js'
import type { ParsedOptions } from './options.js'
import { probe } from './probe.js'
import { stateRoot } from './state-dir.js'
import { sweepOrphans } from './sweep.js'
import type { Variation } from './variation.js'

type Operations = DriverOperations<ContainerdCapabilities> & Required<Pick<VMDriver, 'find'>> & { close(): void }

/** What a program that only looks does not need; its code is loaded when one of these is called. */
export const MACHINE_OPERATIONS = [
  'create',
  'start',
  'stop',
  'kill',
  'delete',
  'wait',
  'getMetrics',
  'pause',
  'resume',
  'execStream',
  'logs',
  'attach',
  'events',
  'files.read',
  'files.write',
  'files.list',
  'files.remove',
  'files.pack',
  'files.unpack',
  'resize',
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
  'volumes.create',
  'volumes.list',
  'volumes.remove',
  'networks.create',
  'networks.list',
  'networks.remove',
] as const

/** All that the driver does; what it says of itself is in `compose.ts`. */
export function operations(variation: Variation, options: ParsedOptions): Operations {
  const { socketPath, namespace } = options
  const link = connection({ socketPath, namespace, driver: variation.name })
  const root = stateRoot(options.stateDir, namespace)
  const { containerd, looking } = inNamespace(link)
  const host: Host = {
    driver: variation.name,
    options,
    variation,
    connection: link,
    containerd,
    looking,
    fifos: fifoPool(root),
    logKeeper: logKeeper(options, root),
    images: { ...imageAccess(link, options), containerd },
    root,
  }
  const machineOperations = lazily(async () => (await import('./machine-operations.js')).machineOperations(host))
  return {
    probe: (ctx) => probe(host, ctx),
    async getStatus(id, ctx) {
      const machine = await findMachine(host, id, ctx)
      return statusOf(machine, await taskOf(host, machine.containerId, ctx, id))
    },
    async getInfo(id, ctx) {
      const machine = await findMachine(host, id, ctx)
      return infoOf(host, machine, await taskOf(host, machine.containerId, ctx, id))
    },
    async list(_filter, ctx) {
      const client = await looking()
      const [machines, { tasks }] = await Promise.all([listMachines(host, ctx), client.tasks.list({}, { signal: ctx.signal })])
      await sweepOrphans(host, machines, ctx)
      const byId = new Map(tasks.map((task) => [task.id, task]))
      return machines.map((machine) => summaryOf(host, machine, byId.get(machine.containerId)))
    },
    find: (idOrName, ctx) => findByName(host, idOrName, ctx),

    ...deferred(machineOperations, MACHINE_OPERATIONS),

    close() {
      link.close()
      host.fifos.close()
      host.logKeeper.close()
    },
  }
}
