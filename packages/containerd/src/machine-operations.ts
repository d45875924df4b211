/** What the driver does with machines, and with what they are made of. `operations.ts` loads this with the first such call. */
import type { DriverOperations, Methods } from '@vmkit/core/driver'
import { attach } from './attach.js'
import type { ContainerdCapabilities } from './capabilities.js'
import { createMachine } from './create.js'
import { readEvents } from './events.js'
import { execStream } from './exec/exec.js'
import { machineFiles } from './files/files.js'
import type { Host } from './host.js'
import { lazyImages } from './images/lazy.js'
import { machineLogs } from './logs/machine-logs.js'
import { readMetrics } from './metrics.js'
import { containerdNetworks } from './net/networks.js'
import type { MACHINE_OPERATIONS } from './operations.js'
import { remove } from './task/delete.js'
import { pause, resume } from './task/pause.js'
import { resize } from './task/resize.js'
import { start } from './task/start.js'
import { kill, stop } from './task/stop.js'
import { wait } from './task/wait.js'
import { containerdVolumes } from './volumes.js'

type MachineOperations = Methods<DriverOperations<ContainerdCapabilities>, (typeof MACHINE_OPERATIONS)[number]>

export function machineOperations(host: Host): MachineOperations {
  return {
    create: async (config, ctx) => ({ id: await createMachine(host, config, ctx) }),
    start: (id, ctx) => start(host, id, ctx),
    stop: (id, stopOptions, ctx) => stop(host, id, stopOptions, ctx),
    kill: (id, signal, ctx) => kill(host, id, signal, ctx),
    delete: (id, { force }, ctx) => remove(host, id, force, ctx),
    wait: (id, ctx) => wait(host, id, ctx),
    getMetrics: (id, ctx) => readMetrics(host, id, ctx),

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
  }
}

/** Snapshots and all that travels: loaded with the first of them. */
const moving = () => import('./snapshots/index.js')
