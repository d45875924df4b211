import { containerdDriver } from '@vmkit/containerd/driver'
import type { VMDriver } from '@vmkit/core/driver'
import type { Rules } from './annotations.js'
import { capabilities, type KataCapabilities } from './capabilities.js'
import { execStream } from './exec.js'
import { accountsInside, guestFiles } from './files/files.js'
import type { Inner } from './inner.js'
import { checkAgain, translate } from './machine-options.js'
import { guestMetrics } from './metrics.js'
import { type KataOptions, runtimeOptions, splitOptions } from './options.js'
import { type KataHost, lookAtHost, refineProbe } from './probe.js'
import { refuseDiskInGuest, refuseForGuest, refuseHostSharing } from './refusals.js'
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
  const inner: Inner = containerdDriver(
    {
      name: 'kata',
      isolation: 'vm',
      capabilities,
      sandboxed: true,
      overwritesLogs: true,
      ...(own.configPath === undefined ? {} : { runtimeOptions: runtimeOptions(own.configPath) }),
      annotations(config) {
        refuseHostSharing(config)
        refuseForGuest(config, host?.config, rest.logs?.mode === 'timestamps')
        checkAgain(config, rulesOf(host))
        return {}
      },
      refineProbe: (probe, ctx) => refineProbe(probe, own, ctx),
      refineMetrics: guestMetrics,
      accounts: (id, ctx) => accountsInside(inner, id, ctx),
    },
    { ...rest, runtime: runtimeName(own.runtime) },
  )
  const look = async (signal: AbortSignal): Promise<KataHost> => {
    host = await lookAtHost(own, signal)
    return host
  }
  return {
    ...inner,
    async create(config, ctx) {
      const rules = rulesOf(await look(ctx.signal))
      refuseHostSharing(config)
      return inner.create(translate(config, rules), ctx)
    },
    async clone(id, request, ctx) {
      await look(ctx.signal)
      return inner.clone(id, request, ctx)
    },
    async prepareIncoming(offer, ctx) {
      const rules = rulesOf(await look(ctx.signal))
      refuseHostSharing(offer.config)
      checkAgain(offer.config, rules)
      return inner.prepareIncoming(offer, ctx)
    },
    async importBundle(bundle, importOptions, ctx) {
      await look(ctx.signal)
      return inner.importBundle(bundle, importOptions, ctx)
    },
    files: guestFiles(inner),
    async snapshot(id, tag, snapshotOptions, ctx) {
      await refuseDiskInGuest(inner, id, ctx)
      return inner.snapshot(id, tag, snapshotOptions, ctx)
    },
    async migrateOut(id, ticket, migrateOptions, ctx) {
      await refuseDiskInGuest(inner, id, ctx)
      return inner.migrateOut(id, ticket, migrateOptions, ctx)
    },
    async *exportBundle(id, ctx) {
      await refuseDiskInGuest(inner, id, ctx)
      yield* inner.exportBundle(id, ctx)
    },
    execStream: (id, request, ctx) => execStream(inner, id, request, ctx),
    kill: (id, signal, ctx) => verifiedKill(inner, id, signal, ctx),
    stop: (id, stopOptions, ctx) => verifiedStop(inner, id, stopOptions, ctx),
    resize: (id, request, ctx) => verifiedResize(inner, id, request, ctx),
  }
}

function rulesOf(host: KataHost | undefined): Rules {
  return { config: host?.config, kind: host?.version.kind ?? 'foreign' }
}
