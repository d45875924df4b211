/** What the driver's methods do. `compose.ts` loads this with the first call: an app that only imports the driver pays none of it. */
import type { DriverOperations, VMDriver } from '@vmkit/core/driver'
import { attach } from './attach.js'
import type { ContainerdCapabilities } from './capabilities.js'
import { createMachine } from './create.js'
import { readEvents } from './events.js'
import { execStream } from './exec/exec.js'
import { fifoPool } from './exec/fifos.js'
import { machineFiles } from './files/files.js'
import { connection } from './grpc/connection.js'
import { findByName, findMachine, type Host, listMachines, taskOf } from './host.js'
import { imageAccess } from './images/access.js'
import { lazyImages } from './images/lazy.js'
import { infoOf, statusOf, summaryOf } from './inspect.js'
import { logKeeper } from './logs/cap.js'
import { machineLogs } from './logs/machine-logs.js'
import { readMetrics } from './metrics.js'
import { ensureNamespace } from './namespace.js'
import { containerdNetworks } from './net/networks.js'
import type { ParsedOptions } from './options.js'
import { probe } from './probe.js'
import { stateRoot } from './state-dir.js'
import { sweepOrphans } from './sweep.js'
import { remove } from './task/delete.js'
import { pause, resume } from './task/pause.js'
import { resize } from './task/resize.js'
import { start } from './task/start.js'
import { kill, stop } from './task/stop.js'
import { wait } from './task/wait.js'
import type { Variation } from './variation.js'
import { containerdVolumes } from './volumes.js'

type Operations = DriverOperations<ContainerdCapabilities> & Required<Pick<VMDriver, 'find'>> & { close(): void }

/** All that the driver does; what it says of itself is in `compose.ts`. */
export function operations(variation: Variation, options: ParsedOptions): Operations {
  const { socketPath, namespace } = options
  const link = connection({ socketPath, namespace, driver: variation.name })
  const root = stateRoot(options.stateDir, namespace)
  const ready = ensureNamespace(link)
  const host: Host = {
    driver: variation.name,
    options,
    variation,
    connection: link,
    containerd: ready,
    fifos: fifoPool(root),
    logKeeper: logKeeper(options, root),
    images: { ...imageAccess(link, options), containerd: ready },
    root,
  }
  return {
    probe: (ctx) => probe(host, ctx),
    create: async (config, ctx) => ({ id: await createMachine(host, config, ctx) }),
    start: (id, ctx) => start(host, id, ctx),
    stop: (id, stopOptions, ctx) => stop(host, id, stopOptions, ctx),
    kill: (id, signal, ctx) => kill(host, id, signal, ctx),
    delete: (id, { force }, ctx) => remove(host, id, force, ctx),
    async getStatus(id, ctx) {
      const machine = await findMachine(host, id, ctx)
      return statusOf(machine, await taskOf(host, machine.containerId, ctx, id))
    },
    async getInfo(id, ctx) {
      const machine = await findMachine(host, id, ctx)
      return infoOf(host, machine, await taskOf(host, machine.containerId, ctx, id))
    },
    getMetrics: (id, ctx) => readMetrics(host, id, ctx),
    async list(_filter, ctx) {
      const containerd = await host.containerd()
      const [machines, { tasks }] = await Promise.all([listMachines(host, ctx), containerd.tasks.list({}, { signal: ctx.signal })])
      await sweepOrphans(host, machines, ctx)
      const byId = new Map(tasks.map((task) => [task.id, task]))
      return machines.map((machine) => summaryOf(host, machine, byId.get(machine.containerId)))
    },
    find: (idOrName, ctx) => findByName(host, idOrName, ctx),
    wait: (id, ctx) => wait(host, id, ctx),

    pause: (id, ctx) => pause(host, id, ctx),
    resume: (id, ctx) => resume(host, id, ctx),
    execStream: (id, request, ctx) => execStream(host, id, request, ctx),
    logs: (id, logOptions, ctx) => machineLogs(host, id, logOptions, ctx),
    attach: (id, ctx) => attach(host, id, ctx),
    events: (ctx) => readEvents(host, ctx),
    files: machineFiles(host),
    resize: (id, request, ctx) => resize(host, id, request, ctx),
    snapshot: async (id, tag, snapshotOptions, ctx) => (await moving()).snapshot(host, id, tag, snapshotOptions, ctx),
    restore: async (id, tag, ctx) => (await moving()).restore(host, id, tag, ctx),
    listSnapshots: async (id, ctx) => (await moving()).listSnapshots(host, id, ctx),
    deleteSnapshot: async (id, tag, ctx) => (await moving()).deleteSnapshot(host, id, tag, ctx),
    clone: async (id, request, ctx) => (await moving()).clone(host, id, request, ctx),
    prepareIncoming: async (offer, ctx) => (await moving()).prepareIncoming(host, offer, ctx),
    migrateOut: async (id, ticket, migrateOptions, ctx) => (await moving()).migrateOut(host, id, ticket, migrateOptions, ctx),
    finishIncoming: async (ticket, ctx) => (await moving()).finishIncoming(host, ticket, ctx),
    cancelIncoming: async (ticket, ctx) => (await moving()).cancelIncoming(host, ticket, ctx),
    async *exportBundle(id, ctx) {
      yield* (await moving()).exportBundle(host, id, ctx)
    },
    importBundle: async (bundle, importOptions, ctx) => (await moving()).importBundle(host, bundle, importOptions, ctx),
    images: lazyImages(host.images),
    volumes: containerdVolumes(host),
    networks: containerdNetworks(host),

    close() {
      link.close()
      host.fifos.close()
      host.logKeeper.close()
    },
  }
}

/** Snapshots and all that travels: loaded with the first of them. */
const moving = () => import('./snapshots/index.js')
