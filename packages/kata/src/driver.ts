import { containerdDriver } from '@vmkit/containerd/driver'
import type { VMDriver } from '@vmkit/core/driver'
import { capabilities, type KataCapabilities } from './capabilities.js'
import { execStream } from './exec.js'
import type { Inner } from './inner.js'
import { checkAgain, translate } from './machine-options.js'
import { guestMetrics } from './metrics.js'
import { type KataOptions, runtimeOptions, splitOptions } from './options.js'
import { type KataHost, lookAtHost, refineProbe } from './probe.js'
import { refuseHostSharing } from './refusals.js'
import { runtimeName } from './shim.js'
import { verifiedKill, verifiedResize, verifiedStop } from './verify.js'

export { capabilities, type KataCapabilities } from './capabilities.js'
export type { KataMachineOptions } from './machine-options.js'
export type { KataOptions } from './options.js'

/** Kata Containers: the containerd driver with a runtime of Kata. Touches no host until the first call. */
export function kata(options?: KataOptions): VMDriver<KataCapabilities> {
  const { own, rest } = splitOptions(options)
  // What the host allows is read once for each create: an administrator may change it at any time.
  let host: KataHost | undefined
  const inner = containerdDriver(
    {
      name: 'kata',
      isolation: 'vm',
      capabilities,
      sandboxed: true,
      ...(own.configPath === undefined ? {} : { runtimeOptions: runtimeOptions(own.configPath) }),
      annotations(config) {
        refuseHostSharing(config)
        checkAgain(config, host?.config)
        return {}
      },
      refineProbe: (probe, ctx) => refineProbe(probe, own, ctx),
      refineMetrics: guestMetrics,
    },
    { ...rest, runtime: runtimeName(own.runtime) },
  ) as Inner
  const look = async (signal: AbortSignal): Promise<KataHost> => {
    host = await lookAtHost(own, signal)
    return host
  }
  return {
    ...inner,
    async create(config, ctx) {
      const { config: kataConfig } = await look(ctx.signal)
      refuseHostSharing(config)
      return inner.create(translate(config, kataConfig), ctx)
    },
    async clone(id, request, ctx) {
      await look(ctx.signal)
      return inner.clone(id, request, ctx)
    },
    async prepareIncoming(offer, ctx) {
      const { config: kataConfig } = await look(ctx.signal)
      refuseHostSharing(offer.config)
      checkAgain(offer.config, kataConfig)
      return inner.prepareIncoming(offer, ctx)
    },
    async importBundle(bundle, importOptions, ctx) {
      await look(ctx.signal)
      return inner.importBundle(bundle, importOptions, ctx)
    },
    execStream: (id, request, ctx) => execStream(inner, id, request, ctx),
    kill: (id, signal, ctx) => verifiedKill(inner, id, signal, ctx),
    stop: (id, stopOptions, ctx) => verifiedStop(inner, id, stopOptions, ctx),
    resize: (id, request, ctx) => verifiedResize(inner, id, request, ctx),
  }
}
