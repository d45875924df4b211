import { containerdDriver } from '@vmkit/containerd/driver'
import { lazyDriver, type VMDriver } from '@vmkit/core/driver'
import { capabilities, type KataCapabilities } from './capabilities.js'
import { guestMetrics } from './metrics.js'
import type { Operations } from './operations.js'
import { type KataOptions, runtimeOptions, splitOptions } from './options.js'

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
  const inner = containerdDriver(
    {
      name: 'kata',
      isolation: 'vm',
      capabilities,
      sandboxed: true,
      overwritesLogs: true,
      ...(own.configPath === undefined ? {} : { runtimeOptions: runtimeOptions(own.configPath) }),
      // It is reached through those operations alone.
      annotations: (config) => (loaded as Operations).annotations(config),
      refineProbe: async (probe, ctx) => (await load()).refineProbe(probe, ctx),
      refineMetrics: guestMetrics,
      accounts: async (id, ctx) => (await load()).accounts(id, ctx),
    },
    { ...rest, runtime: own.runtime },
  )
  const { name, apiVersion, fields, durability, isolation, guards } = inner
  return lazyDriver({ name, apiVersion, capabilities, fields, durability, isolation, guards }, load, ['find'])
}
