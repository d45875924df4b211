/** What is Kata's own in the driver's methods. `driver.ts` loads this with the first call: an app that only imports the driver pays none of it. */
import type { ContainerdOptions } from '@vmkit/containerd/driver'
import type { CallContext, HostProbe, MachineConfig, VMDriver } from '@vmkit/core/driver'
import type { Rules } from './annotations.js'
import type { KataCapabilities } from './capabilities.js'
import { execStream } from './exec.js'
import { accountsInside, guestFiles } from './files/files.js'
import type { Inner } from './inner.js'
import { checkAgain, translate } from './machine-options.js'
import type { OwnOptions } from './options.js'
import { type KataHost, lookAtHost, refineProbe } from './probe.js'
import { refuseDiskInGuest, refuseForGuest, refuseHostSharing } from './refusals.js'
import { verifiedKill, verifiedResize, verifiedStop } from './verify.js'

export type Operations = ReturnType<typeof operations>

/** The containerd driver, and what is otherwise than there. */
export function operations(inner: Inner, own: OwnOptions, { logs }: ContainerdOptions) {
  // What the host allows is read once for each create: an administrator may change it at any time.
  let host: KataHost | undefined
  const look = async ({ signal }: CallContext): Promise<Rules> => {
    host = await lookAtHost(own, signal)
    return rulesOf(host)
  }
  return {
    ...inner,
    /** Of a machine that is about to be made, by whichever way. The host was looked at for it. */
    annotations(config: MachineConfig): Readonly<Record<string, string>> {
      refuseHostSharing(config)
      refuseForGuest(config, host?.config, logs?.mode === 'timestamps')
      checkAgain(config, rulesOf(host))
      return {}
    },
    refineProbe: (probe: HostProbe, ctx: CallContext) => refineProbe(probe, own, ctx),
    accounts: (id: string, ctx: CallContext) => accountsInside(inner, id, ctx),

    async create(config, ctx) {
      const rules = await look(ctx)
      refuseHostSharing(config)
      return inner.create(translate(config, rules), ctx)
    },
    async clone(id, request, ctx) {
      await look(ctx)
      return inner.clone(id, request, ctx)
    },
    async prepareIncoming(offer, ctx) {
      const rules = await look(ctx)
      refuseHostSharing(offer.config)
      checkAgain(offer.config, rules)
      return inner.prepareIncoming(offer, ctx)
    },
    async finishIncoming(ticket, ctx) {
      await look(ctx)
      return inner.finishIncoming(ticket, ctx)
    },
    async importBundle(bundle, importOptions, ctx) {
      await look(ctx)
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
  } satisfies VMDriver<KataCapabilities> & Record<'annotations' | 'refineProbe' | 'accounts', unknown>
}

function rulesOf(host: KataHost | undefined): Rules {
  return { config: host?.config, kind: host?.version.kind ?? 'foreign' }
}
