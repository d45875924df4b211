import type { Hash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type CallContext, type DriverImages, type ImageInfo, invalidConfig, VMKitError } from '@vmkit/core/driver'
import { packEntries, readTar } from './archive.js'
import type { MockBackend } from './backend.js'

const LAYERS = 3
const LAYER_BYTES = 1_000_000
/** Of `docker save`: what the archive holds. */
const MANIFEST = 'manifest.json'

export function mockImages(backend: MockBackend): Required<DriverImages> {
  const enter = (operation: string, ctx: CallContext) => enterCall(backend, `images.${operation}`, ctx)
  return {
    async pull(request, ctx) {
      await enter('pull', ctx)
      return ensureImage(backend, request.reference, request.policy ?? 'always', ctx)
    },
    async list(ctx) {
      await enter('list', ctx)
      return [...backend.images.values()]
    },
    async remove(reference, ctx) {
      await enter('remove', ctx)
      if (!backend.images.has(reference)) throw imageNotFound(reference)
      const user = [...backend.machines.values()].find((machine) => machine.config.image === reference)
      if (user) throw new VMKitError('CONFLICT', `The machine ${user.config.name} uses ${reference}`)
      backend.images.delete(reference)
    },
    async import(archive, reference, ctx) {
      await enter('import', ctx)
      const hash = sha256()
      let size = 0
      let own: string | undefined
      for (const { name, node } of await readTar(archive, 'archive')) {
        hash.update(name).update(node.content ?? '')
        size += node.content?.length ?? 0
        if (name === MANIFEST) own = referenceIn(node.content)
      }
      const id = `sha256:${hash.digest('hex')}`
      return keep(backend, reference ?? own ?? `imported@${id}`, id, size)
    },
    async *export(reference, ctx) {
      await enter('export', ctx)
      const image = backend.images.get(reference)
      if (!image) throw imageNotFound(reference)
      const content = Buffer.from(JSON.stringify([{ Config: image.id, RepoTags: [reference], Layers: [] }]))
      yield* packEntries([{ name: MANIFEST, node: { type: 'file', mode: 0o644, modifiedAt: image.createdAt ?? 0, content } }])
    },
    async build(request, ctx) {
      await enter('build', ctx)
      const dockerfile = join(request.context, request.dockerfile ?? 'Dockerfile')
      if (!existsSync(dockerfile)) throw invalidConfig('request.dockerfile', 'a file in the context', request.dockerfile)
      ctx.report({ phase: 'build', message: `from ${request.context}` })
      return keep(backend, request.tag, digest(`${request.context} ${request.tag}`), 0)
    },
  }
}

/** The name that an archive in `docker save`'s format gives to its image. */
function referenceIn(manifest: Uint8Array | undefined): string | undefined {
  try {
    return (JSON.parse(Buffer.from(manifest ?? []).toString()) as { RepoTags?: string[] }[])[0]?.RepoTags?.[0]
  } catch {
    return undefined
  }
}

/** @throws VMKitError `IMAGE_NOT_FOUND` */
export async function ensureImage(
  backend: MockBackend,
  reference: string,
  policy: 'always' | 'missing' | 'never',
  ctx: CallContext,
): Promise<ImageInfo> {
  const present = backend.images.get(reference)
  if (present && policy !== 'always') return present
  if (policy === 'never' || !backend.canPull(reference)) throw imageNotFound(reference)
  for (let layer = 1; layer <= LAYERS; layer += 1) {
    ctx.signal.throwIfAborted()
    ctx.report({ phase: 'pull', item: digest(`${reference} ${layer}`), current: LAYER_BYTES, total: LAYER_BYTES, unit: 'bytes' })
  }
  const image = keep(backend, reference, digest(reference), LAYERS * LAYER_BYTES)
  backend.emit({ type: 'image-pulled', driver: 'mock', image: reference, at: backend.clock.now() })
  return image
}

/** Every call: the backend must be there, and injected latency and faults have their way. */
export async function enterCall(backend: MockBackend, operation: string, ctx: CallContext) {
  backend.check()
  const death = await backend.weather.strike(operation, ctx.signal)
  backend.check()
  return death
}

function keep(backend: MockBackend, reference: string, id: string, sizeBytes: number): ImageInfo {
  const image: ImageInfo = { reference, id, sizeBytes, createdAt: backend.clock.now() }
  backend.images.set(reference, image)
  return image
}

/** Not imported: that would be most of what importing this driver costs, and few apps look at images. */
function sha256(): Hash {
  return process.getBuiltinModule('node:crypto').createHash('sha256')
}

function digest(text: string): string {
  return `sha256:${sha256().update(text).digest('hex')}`
}

function imageNotFound(reference: string): VMKitError {
  return new VMKitError('IMAGE_NOT_FOUND', `There is no image ${JSON.stringify(reference)}`, { field: 'config.image' })
}
