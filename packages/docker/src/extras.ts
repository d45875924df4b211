import type { DriverOperations, Methods } from '@vmkit/core/driver'
import { attach } from './attach.js'
import { exportBundle, importBundle } from './bundle.js'
import type { capabilities } from './capabilities.js'
import { execStream } from './exec.js'
import { dockerFiles } from './files.js'
import { dockerImages, type RegistryAccess } from './images.js'
import { readLogs } from './logs.js'
import type { Machines } from './machines.js'
import { readMetrics } from './metrics.js'
import { cancelIncoming, finishIncoming, migrateOut, prepareIncoming } from './migrate.js'
import type { EXTRAS } from './operations.js'
import { clone, deleteSnapshot, listSnapshots, restore, snapshot } from './snapshots.js'
import { dockerNetworks, dockerVolumes } from './volumes.js'

type Extras = Methods<DriverOperations<typeof capabilities>, (typeof EXTRAS)[number]>

/** What a plain job does not need. */
export function extras(machines: Machines, registries: RegistryAccess): Extras {
  return {
    getMetrics: (id, ctx) => readMetrics(machines, id, ctx),
    execStream: (id, request, ctx) => execStream(machines, id, request, ctx),
    logs: (id, logOptions, ctx) => readLogs(machines, id, logOptions, ctx),
    attach: (id, ctx) => attach(machines, id, ctx),
    files: dockerFiles(machines),
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
  }
}
