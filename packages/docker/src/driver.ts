import type { VMDriver } from '@vmkit/core/driver'
import { capabilities } from './capabilities.js'
import type { Extras } from './extras.js'
import type { Operations } from './operations.js'
import { type DockerOptions, parseOptions } from './options.js'

export type { DockerMachineOptions, Healthcheck } from './machine-options.js'
export type { DockerOptions, RegistryAuth } from './options.js'
export { capabilities }

const FIELDS = Object.freeze(['command', 'args', 'env', 'workdir', 'user', 'tty', 'stop', 'files', 'devices', 'driverOptions'] as const)

/** What the engine refuses in the states in which core's table forbids it. */
const GUARDS = Object.freeze(['start', 'stop', 'kill', 'pause', 'resume', 'delete', 'exec', 'rename'] as const)

export type DockerDriver = VMDriver<typeof capabilities>

/** Docker Engine, or Podman's Docker API. Touches no host until the first call, which also loads what talks to the engine. */
export function docker(options?: DockerOptions): DockerDriver {
  const parsed = parseOptions(options)
  let loading: Promise<Operations> | undefined
  const load = (): Promise<Operations> => {
    loading ??= import('./operations.js').then(({ operations }) => operations(parsed))
    return loading
  }

  const extras = async (): Promise<Extras> => (await load()).extras()

  return {
    name: 'docker',
    apiVersion: 1,
    capabilities,
    fields: FIELDS,
    durability: 'host',
    isolation: 'container',
    guards: GUARDS,

    probe: async (ctx) => (await load()).probe(ctx),
    create: async (config, ctx) => (await load()).create(config, ctx),
    start: async (id, ctx) => (await load()).start(id, ctx),
    stop: async (id, stopOptions, ctx) => (await load()).stop(id, stopOptions, ctx),
    kill: async (id, signal, ctx) => (await load()).kill(id, signal, ctx),
    delete: async (id, deleteOptions, ctx) => (await load()).delete(id, deleteOptions, ctx),
    getStatus: async (id, ctx) => (await load()).getStatus(id, ctx),
    getInfo: async (id, ctx) => (await load()).getInfo(id, ctx),
    getMetrics: async (id, ctx) => (await extras()).getMetrics(id, ctx),
    list: async (filter, ctx) => (await load()).list(filter, ctx),
    find: async (idOrName, ctx) => (await load()).find(idOrName, ctx),
    wait: async (id, ctx) => (await load()).wait(id, ctx),

    pause: async (id, ctx) => (await load()).pause(id, ctx),
    resume: async (id, ctx) => (await load()).resume(id, ctx),
    execStream: async (id, request, ctx) => (await extras()).execStream(id, request, ctx),
    async *logs(id, logOptions, ctx) {
      yield* (await extras()).logs(id, logOptions, ctx)
    },
    attach: async (id, ctx) => (await extras()).attach(id, ctx),
    async *events(ctx) {
      yield* (await load()).events(ctx)
    },
    resize: async (id, request, ctx) => (await load()).resize(id, request, ctx),
    rename: async (id, name, ctx) => (await load()).rename(id, name, ctx),
    snapshot: async (id, tag, snapshotOptions, ctx) => (await extras()).snapshot(id, tag, snapshotOptions, ctx),
    restore: async (id, tag, ctx) => (await extras()).restore(id, tag, ctx),
    listSnapshots: async (id, ctx) => (await extras()).listSnapshots(id, ctx),
    deleteSnapshot: async (id, tag, ctx) => (await extras()).deleteSnapshot(id, tag, ctx),
    clone: async (id, request, ctx) => (await extras()).clone(id, request, ctx),
    prepareIncoming: async (offer, ctx) => (await extras()).prepareIncoming(offer, ctx),
    migrateOut: async (id, ticket, migrateOptions, ctx) => (await extras()).migrateOut(id, ticket, migrateOptions, ctx),
    finishIncoming: async (ticket, ctx) => (await extras()).finishIncoming(ticket, ctx),
    cancelIncoming: async (ticket, ctx) => (await extras()).cancelIncoming(ticket, ctx),
    async *exportBundle(id, ctx) {
      yield* (await extras()).exportBundle(id, ctx)
    },
    importBundle: async (bundle, importOptions, ctx) => (await extras()).importBundle(bundle, importOptions, ctx),
    files: {
      async *read(id, path, ctx) {
        yield* (await extras()).files.read(id, path, ctx)
      },
      write: async (id, path, content, writeOptions, ctx) => (await extras()).files.write(id, path, content, writeOptions, ctx),
      list: async (id, path, ctx) => (await extras()).files.list(id, path, ctx),
      remove: async (id, path, ctx) => (await extras()).files.remove(id, path, ctx),
      async *pack(id, path, ctx) {
        yield* (await extras()).files.pack(id, path, ctx)
      },
      unpack: async (id, path, tar, ctx) => (await extras()).files.unpack(id, path, tar, ctx),
    },
    images: {
      pull: async (request, ctx) => (await extras()).images.pull(request, ctx),
      list: async (ctx) => (await extras()).images.list(ctx),
      remove: async (reference, ctx) => (await extras()).images.remove(reference, ctx),
      import: async (archive, reference, ctx) => (await extras()).images.import(archive, reference, ctx),
      build: async (request, ctx) => (await extras()).images.build(request, ctx),
    },
    volumes: {
      create: async (name, labels, ctx) => (await extras()).volumes.create(name, labels, ctx),
      list: async (ctx) => (await extras()).volumes.list(ctx),
      remove: async (name, ctx) => (await extras()).volumes.remove(name, ctx),
    },
    networks: {
      create: async (name, labels, ctx) => (await extras()).networks.create(name, labels, ctx),
      list: async (ctx) => (await extras()).networks.list(ctx),
      remove: async (name, ctx) => (await extras()).networks.remove(name, ctx),
    },

    async close() {
      await (await loading)?.close()
    },
  }
}
