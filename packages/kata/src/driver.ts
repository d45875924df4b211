import { containerdDriver } from '@vmkit/containerd/driver'
import type { VMDriver } from '@vmkit/core/driver'
import { capabilities, type KataCapabilities } from './capabilities.js'
import type { Inner } from './inner.js'
import { guestMetrics } from './metrics.js'
import type { Operations } from './operations.js'
import { type KataOptions, runtimeOptions, splitOptions } from './options.js'
import { runtimeName } from './runtime-name.js'

export { capabilities, type KataCapabilities } from './capabilities.js'
export type { KataMachineOptions } from './machine-options.js'
export type { KataOptions } from './options.js'

/** Kata Containers: the containerd driver with a runtime of Kata. Touches no host until the first call. */
export function kata(options?: KataOptions): VMDriver<KataCapabilities> {
  const { own, rest } = splitOptions(options)
  let loaded: Operations | undefined
  const load = async (): Promise<Operations> => {
    const { operations } = await import('./operations.js')
    loaded ??= operations(inner, own, rest)
    return loaded
  }
  const inner: Inner = containerdDriver(
    {
      name: 'kata',
      isolation: 'vm',
      capabilities,
      sandboxed: true,
      overwritesLogs: true,
      ...(own.configPath === undefined ? {} : { runtimeOptions: runtimeOptions(own.configPath) }),
      // Each way to a new machine is one of those below, so they are loaded by then.
      annotations: (config) => (loaded as Operations).annotations(config),
      refineProbe: async (probe, ctx) => (await load()).refineProbe(probe, ctx),
      refineMetrics: guestMetrics,
      accounts: async (id, ctx) => (await load()).accounts(id, ctx),
    },
    { ...rest, runtime: runtimeName(own.runtime) },
  ) as Inner
  return {
    ...inner,
    create: async (...args) => (await load()).create(...args),
    clone: async (...args) => (await load()).clone(...args),
    prepareIncoming: async (...args) => (await load()).prepareIncoming(...args),
    finishIncoming: async (...args) => (await load()).finishIncoming(...args),
    importBundle: async (...args) => (await load()).importBundle(...args),
    files: {
      async *read(...args) {
        yield* (await load()).files.read(...args)
      },
      write: async (...args) => (await load()).files.write(...args),
      list: async (...args) => (await load()).files.list(...args),
      remove: async (...args) => (await load()).files.remove(...args),
      async *pack(...args) {
        yield* (await load()).files.pack(...args)
      },
      unpack: async (...args) => (await load()).files.unpack(...args),
    },
    snapshot: async (...args) => (await load()).snapshot(...args),
    migrateOut: async (...args) => (await load()).migrateOut(...args),
    async *exportBundle(...args) {
      yield* (await load()).exportBundle(...args)
    },
    execStream: async (...args) => (await load()).execStream(...args),
    kill: async (...args) => (await load()).kill(...args),
    stop: async (...args) => (await load()).stop(...args),
    resize: async (...args) => (await load()).resize(...args),
  }
}
