import { Readable } from 'node:stream'
import { VMKitError } from '@vmkit/core'
import { type CallContext, invalidConfig, type MachineConfig, type MachineRef } from '@vmkit/core/driver'
import { commit } from './commit.js'
import { createContainer } from './create.js'
import { transportError } from './errors.js'
import { loadImage, type RegistryAccess } from './images.js'
import { configOf } from './labels.js'
import { type Machines, unaborted } from './machines.js'
import { refOf } from './missing.js'
import { BASE_TAG, baseRepo } from './snapshot-images.js'
import { spool } from './spool.js'
import { loadTar } from './tar.js'

/*
 * A bundle is a tar of two files: `vmkit.json` (`{ "vmkitBundle": 1, "driver": "docker", "config": … }`, the config without
 * vmkit's own labels) and `image.tar`, what `docker save` gives for the machine's disk.
 */
const FORMAT = 1
const MANIFEST = 'vmkit.json'
const IMAGE = 'image.tar'
const LONGEST_MANIFEST = 2 ** 20

export async function* exportBundle(machines: Machines, id: string, ctx: CallContext): AsyncGenerator<Uint8Array> {
  const { engine } = await machines.find(id, ctx)
  const container = await machines.inspect(id, ctx)
  const config = configOf(container.Config.Labels)
  if (!config) throw invalidConfig('labels', 'the labels that vmkit gave the container', 'others', { driver: 'docker', vmId: id })
  if (config.volumes.length > 0) {
    throw new VMKitError('UNSUPPORTED', 'A bundle holds no volumes yet, and this machine has some', {
      driver: 'docker',
      vmId: id,
      field: 'config.volumes',
      capability: 'bundle',
    })
  }
  const image = { repo: baseRepo(crypto.randomUUID()), tag: BASE_TAG, label: 'bundle' }
  await commit(machines, id, image, ctx)
  try {
    const saved = await engine.stream({
      method: 'GET',
      path: `/images/${image.repo}:${image.tag}/get`,
      signal: ctx.signal,
      context: { vmId: id },
    })
    await using content = await spool(saved, { signal: ctx.signal })
    const pack = (await loadTar()).pack()
    pack.entry({ name: MANIFEST }, JSON.stringify({ vmkitBundle: FORMAT, driver: 'docker', config: portable(config) }))
    const entry = pack.entry({ name: IMAGE, size: content.size }, (error) => (error ? pack.destroy(error) : pack.finalize()))
    content.read().pipe(entry)
    yield* pack as AsyncIterable<Uint8Array>
  } catch (error) {
    throw transportError(error, engine.endpoint.target, ctx.signal)
  } finally {
    await engine.json({ method: 'DELETE', path: `/images/${image.repo}:${image.tag}`, signal: unaborted().signal }).catch(() => {})
  }
}

function portable(config: MachineConfig): MachineConfig {
  const { ttl: _ttl, ...rest } = config
  return { ...rest, labels: Object.fromEntries(Object.entries(config.labels).filter(([key]) => !key.startsWith('vmkit.'))) }
}

export async function importBundle(
  machines: Machines,
  registries: RegistryAccess,
  bundle: AsyncIterable<Uint8Array>,
  { name, labels }: { name?: string; labels: Record<string, string> },
  ctx: CallContext,
): Promise<MachineRef> {
  const engine = await machines.engine(ctx)
  // Read to its end first: a bundle that breaks off must leave nothing.
  await using spooled = await spool(bundle, { signal: ctx.signal })
  let config: MachineConfig | undefined
  let image: string | undefined
  try {
    await readBundle(spooled.read(), {
      manifest: (parsed) => {
        config = parsed
      },
      image: async (content) => {
        image = await loadImage(engine, content, ctx)
      },
    })
    if (!config || image === undefined) throw notABundle(`it has no ${config ? IMAGE : MANIFEST}`)
    const named = { ...config, name: name ?? config.name, labels: { ...config.labels, ...labels } }
    return refOf(await createContainer(engine, registries, named, ctx, { image, skipFiles: true }), named)
  } catch (error) {
    if (image !== undefined) await engine.json({ method: 'DELETE', path: `/images/${image}`, signal: unaborted().signal }).catch(() => {})
    throw error
  }
}

interface Parts {
  manifest(config: MachineConfig): void
  image(content: Readable): Promise<void>
}

async function readBundle(content: Readable, parts: Parts): Promise<void> {
  const parser = (await loadTar()).extract()
  content.on('error', (error) => parser.destroy(error)).pipe(parser)
  try {
    for await (const entry of parser) {
      if (entry.header.name === MANIFEST) {
        if ((entry.header.size ?? 0) > LONGEST_MANIFEST) throw notABundle(`${MANIFEST} is too long`)
        const chunks: Uint8Array[] = []
        for await (const chunk of entry as AsyncIterable<Uint8Array>) chunks.push(chunk)
        parts.manifest(parseManifest(Buffer.concat(chunks).toString('utf8')))
      } else if (entry.header.name === IMAGE) {
        await parts.image(Readable.from(entry, { objectMode: false }))
      } else {
        entry.resume()
      }
    }
  } catch (error) {
    throw error instanceof VMKitError ? error : notABundle((error as Error).message)
  }
}

function parseManifest(text: string): MachineConfig {
  try {
    const { vmkitBundle, config } = JSON.parse(text) as { vmkitBundle?: unknown; config?: unknown }
    if (vmkitBundle === FORMAT && typeof config === 'object' && config !== null) return config as MachineConfig
  } catch {
    // told below
  }
  throw notABundle(`${MANIFEST} is not of format ${FORMAT}`)
}

function notABundle(reason: string): VMKitError {
  return new VMKitError('INVALID_CONFIG', `This is no bundle of vmkit: ${reason}`, {
    driver: 'docker',
    operation: 'importBundle',
    field: 'bundle',
  })
}
