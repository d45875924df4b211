/** A machine as one portable tar, in the format of `@vmkit/oci`: its config, and its root file system as an image. */
import { type CallContext, type MachineRef, VMKitError } from '@vmkit/core/driver'
import { withLock } from '@vmkit/core/state-folder'
import { readBundle, writeBundle } from '@vmkit/oci'
import { createMachine } from '../create.js'
import { findMachine, type Host, type Machine } from '../host.js'
import { unpackSource } from '../images/ensure.js'
import { openLease } from '../images/leases.js'
import { writeContent } from '../images/place.js'
import { openStored } from '../images/store.js'
import { commitRootfs, whileFrozen } from './commit.js'

export async function* exportBundle(host: Host, id: string, ctx: CallContext): AsyncGenerator<Uint8Array> {
  const { folder } = await findMachine(host, id, ctx)
  const containerd = await host.containerd()
  const lease = await openLease(containerd, ctx.signal)
  try {
    const { machine, descriptor } = await withLock({ id, folder: folder.path }, 'bundle', ctx.signal, async () => {
      const machine = await findMachine(host, id, ctx)
      refuseVolumes(host, machine)
      return { machine, ...(await whileFrozen(host, machine, ctx, () => commitRootfs(host, machine, lease.id, ctx))) }
    })
    await using image = await openStored(containerd, machine.container.image, descriptor, { signal: ctx.signal })
    yield* writeBundle({ driver: host.driver, config: machine.record.config, image }, { signal: ctx.signal })
  } finally {
    await lease.end()
  }
}

/** Its content is in folders of this host, beside the root file system. */
export function refuseVolumes({ driver }: Host, { id, record }: Machine, capability: 'bundle' | 'migrate.cold' = 'bundle'): void {
  if (record.config.volumes.length === 0) return
  throw new VMKitError('UNSUPPORTED', 'The content of volumes does not travel with a machine, and this one has some', {
    driver,
    vmId: id,
    field: 'config.volumes',
    capability,
  })
}

export async function importBundle(
  host: Host,
  stream: AsyncIterable<Uint8Array>,
  { name, labels }: { name?: string; labels: Record<string, string> },
  ctx: CallContext,
): Promise<MachineRef> {
  const containerd = await host.containerd()
  const errors = { driver: host.driver, operation: 'importBundle', field: 'bundle' }
  await using bundle = await readBundle(stream, { content: 'image', signal: ctx.signal, errors })
  const source = bundle.image
  if (!source) throw new VMKitError('INVALID_CONFIG', 'The bundle holds no image', errors)
  const config = { ...bundle.config, name: name ?? bundle.config.name, labels: { ...bundle.config.labels, ...labels } }
  const image = async (lease: string) => {
    await writeContent(containerd, source, undefined, lease, ctx)
    return unpackSource(host.images, source, { name: config.image ?? '', isNamed: false }, lease, ctx)
  }
  return { id: await createMachine(host, config, ctx, { image, skipFiles: true }) }
}
