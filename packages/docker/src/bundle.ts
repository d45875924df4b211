import { Readable } from 'node:stream'
import { VMKitError } from '@vmkit/core'
import { type CallContext, invalidConfig, type MachineConfig, type MachineRef } from '@vmkit/core/driver'
import { commit } from './commit.js'
import { createContainer } from './create.js'
import type { Engine } from './engine.js'
import { hasCode, transportError } from './errors.js'
import { loadImage, type RegistryAccess } from './images.js'
import { configOf, LABEL } from './labels.js'
import type { Machines } from './machines.js'
import { refOf } from './missing.js'
import { BASE_TAG, baseRepo } from './snapshot-images.js'
import { type Spooled, spool } from './spool.js'
import { fillVolumes, refuseTakenVolumes, volumeContent } from './volume-contents.js'

/* The portable bundle is that of `@vmkit/oci`. What is in `config.volumes[n]` goes along as `volume-n.tar`. */
const volumeFile = (index: number): string => `volume-${index}.tar`

export async function* exportBundle(machines: Machines, id: string, ctx: CallContext): AsyncGenerator<Uint8Array> {
  const { engine } = await machines.at(id, ctx)
  const { signal } = ctx
  const { Config, Name } = await machines.inspect(id, ctx)
  const config = configOf(Config.Labels, Name)
  if (!config) throw invalidConfig('labels', 'the labels that vmkit gave the container', 'others', { driver: 'docker', vmId: id })
  const { openArchive, writeBundle } = await import('@vmkit/oci')
  const image = { repo: baseRepo(crypto.randomUUID()), tag: BASE_TAG, label: 'bundle' }
  const path = `/images/${image.repo}:${image.tag}`
  const contents: Spooled[] = []
  await commit(machines, id, image, ctx)
  try {
    const saved = await engine.stream({ method: 'GET', path: `${path}/get`, signal, context: { vmId: id } })
    await using source = await openArchive(saved, { signal, errors: { driver: 'docker', operation: 'exportBundle' } })
    for (const volume of config.volumes) contents.push(await spool(await volumeContent(engine, id, volume, ctx), { signal }))
    const files = Object.fromEntries(contents.map(({ size, read }, index) => [volumeFile(index), { size, read }]))
    yield* writeBundle({ driver: 'docker', config, image: source, files }, { signal })
  } catch (error) {
    throw transportError(error, engine.endpoint.target, signal)
  } finally {
    for (const content of contents) await content[Symbol.asyncDispose]()
    await engine.undo(() => remove(engine, [path]))
  }
}

export async function importBundle(
  machines: Machines,
  registries: RegistryAccess,
  stream: AsyncIterable<Uint8Array>,
  { name, labels }: { name?: string; labels: Record<string, string> },
  ctx: CallContext,
): Promise<MachineRef> {
  const engine = await machines.engine(ctx)
  const { signal } = ctx
  const { readBundle, writeArchive } = await import('@vmkit/oci')
  const errors = { driver: 'docker', operation: 'importBundle' }
  // Read to its end first: a bundle that breaks off must leave nothing.
  await using bundle = await readBundle(stream, { content: 'image', signal, errors })
  if (!bundle.image) throw invalidConfig('bundle', 'a bundle with an image', 'none', errors)
  const { rootfs: _rootfs, ...stored } = bundle.config
  const config = { ...stored, name: name ?? stored.name, labels: { ...stored.labels, ...labels } }
  refuseForeign(config, [...bundle.files.keys()])
  const volumes = config.volumes.filter((_, index) => bundle.files.has(volumeFile(index)))
  await refuseTakenVolumes(engine, volumes, ctx)
  const key = crypto.randomUUID()
  const image = `${baseRepo(key)}:${BASE_TAG}`
  const helper = `vmkit-bundle-${key}`
  try {
    await loadImage(engine, Readable.from(writeArchive(bundle.image, { reference: image, signal }), { objectMode: false }), ctx)
    const content = async (volume: MachineConfig['volumes'][number]) =>
      Readable.from(bundle.files.get(volumeFile(config.volumes.indexOf(volume)))?.read({ signal }) ?? [], { objectMode: false })
    if (volumes.length > 0) await fillVolumes(engine, { volumes, image, labels: {}, helper, content }, ctx)
    // The label says that the image goes with its last machine, also where another driver made it.
    const extraLabels = { [LABEL.snapshotTag]: 'bundle' }
    return refOf(await createContainer(engine, registries, config, ctx, { image, extraLabels, skipFiles: true }), config)
  } catch (error) {
    const paths = [`/containers/${helper}`, ...volumes.map((volume) => `/volumes/${volume.name}`), `/images/${image}`]
    await engine.undo(() => remove(engine, paths))
    throw error
  }
}

/** What other drivers can put into a bundle and this one would drop. @throws VMKitError `UNSUPPORTED` naming it */
function refuseForeign(config: MachineConfig, files: readonly string[]): void {
  const [field] = (['disk', 'kernel', 'cloudInit'] as const).filter((name) => config[name] !== undefined)
  const file = files.find((name) => !config.volumes.some((_, index) => name === volumeFile(index)))
  if (field === undefined && file === undefined) return
  throw new VMKitError('UNSUPPORTED', `A container cannot take what this bundle has as ${field ?? file}`, {
    driver: 'docker',
    operation: 'importBundle',
    capability: 'bundle',
    field: field === undefined ? 'bundle' : `config.${field}`,
  })
}

async function remove(engine: Engine, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await engine.json({ method: 'DELETE', path, query: { force: true } }).catch((error: unknown) => {
      if (hasCode(error, 'BACKEND_UNAVAILABLE')) throw error
    })
  }
}
