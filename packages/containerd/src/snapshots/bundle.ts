/** A machine as one portable tar, in the format of `@vmkit/oci`: its config, its root file system as an image, its volumes as tars. */
import { type CallContext, type MachineConfig, type MachineRef, VMKitError } from '@vmkit/core/driver'
import { withLock } from '@vmkit/core/state-folder'
import { readBundle, writeBundle } from '@vmkit/oci'
import { createMachine, refuseTakenName } from '../create.js'
import { findMachine, type Host } from '../host.js'
import { unpackSource } from '../images/ensure.js'
import { openLease } from '../images/leases.js'
import { writeContent } from '../images/place.js'
import { openStored } from '../images/store.js'
import { refuseTakenVolumes } from '../volumes.js'
import { commitRootfs, whileFrozen } from './commit.js'
import { fillVolumes, packVolumes, type VolumeTar } from './volume-tars.js'

/** What is in `config.volumes[n]`: the name that `@vmkit/docker` gives it too. */
const volumeFile = (index: number): string => `volume-${index}.tar`

export async function* exportBundle(host: Host, id: string, ctx: CallContext): AsyncGenerator<Uint8Array> {
  const { folder } = await findMachine(host, id, ctx)
  const containerd = await host.containerd()
  const lease = await openLease(containerd, ctx.signal)
  let tars: VolumeTar[] = []
  try {
    const { machine, descriptor } = await withLock({ id, folder: folder.path }, 'bundle', ctx.signal, async () => {
      const machine = await findMachine(host, id, ctx)
      const committed = await whileFrozen(host, machine, ctx, async () => {
        tars = await packVolumes(host, machine.record.config.volumes, ctx)
        return commitRootfs(host, machine, lease.id, ctx)
      })
      return { machine, ...committed }
    })
    await using image = await openStored(containerd, machine.container.image, descriptor, { signal: ctx.signal })
    const files = Object.fromEntries(tars.map(({ size, read }, index) => [volumeFile(index), { size, read: () => read() }]))
    yield* writeBundle({ driver: host.driver, config: machine.record.config, image, files }, { signal: ctx.signal })
  } finally {
    for (const tar of tars) await tar.remove()
    await lease.end()
  }
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
  // The folder that the machine was once made of is not here; its content is.
  const { rootfs: _rootfs, ...stored } = bundle.config
  const config = { ...stored, name: name ?? stored.name, labels: { ...stored.labels, ...labels } }
  refuseForeign(host, config, [...bundle.files.keys()])
  const volumes = config.volumes.flatMap((volume, index) => {
    const file = bundle.files.get(volumeFile(index))
    return file ? [{ volume, file }] : []
  })
  const filled = volumes.map(({ volume }) => volume)
  // Said before content is unpacked.
  await refuseTakenName(host, config.name, ctx)
  refuseTakenVolumes(host, filled)
  const image = async (lease: string) => {
    await writeContent(containerd, source, undefined, lease, ctx)
    return unpackSource(host.images, source, { name: config.image ?? '', isNamed: false }, lease, ctx)
  }
  const content = (index: number) => volumes[index]?.file.read({ signal: ctx.signal }) ?? nothing()
  const undo = await fillVolumes(host, filled, content, ctx)
  try {
    return { id: await createMachine(host, config, ctx, { image, skipFiles: true }) }
  } catch (error) {
    undo()
    throw error
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** What other drivers can put into a bundle and this one would drop. @throws VMKitError `UNSUPPORTED` naming it */
function refuseForeign({ driver }: Host, config: MachineConfig, files: readonly string[]): void {
  const [field] = (['disk', 'kernel', 'cloudInit'] as const).filter((name) => config[name] !== undefined)
  const file = files.find((name) => !config.volumes.some((_, index) => name === volumeFile(index)))
  if (field === undefined && file === undefined) return
  throw new VMKitError('UNSUPPORTED', `A container cannot take what this bundle has as ${field ?? file}`, {
    driver,
    operation: 'importBundle',
    capability: 'bundle',
    field: field === undefined ? 'bundle' : `config.${field}`,
  })
}
