import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { VMKitError } from '@vmkit/core'
import { type CallContext, type DriverImages, type ImageInfo, invalidConfig, type PullRequest } from '@vmkit/core/driver'
import { buildImage } from './build.js'
import type { Engine } from './engine.js'
import { hasCode, transportError } from './errors.js'
import { listImages } from './image-list.js'
import type { Machines } from './machines.js'
import type { DockerOptions } from './options.js'
import { followProgress } from './progress.js'
import { authHeader } from './registry-auth.js'
import { isSnapshotReference } from './snapshot-images.js'
import { type ImageInspect, timeOf } from './wire.js'

export type RegistryAccess = DockerOptions['registries']

export function dockerImages(machines: Machines, registries: RegistryAccess): Required<DriverImages> {
  return {
    async pull(request, ctx) {
      const engine = await machines.engine(ctx)
      if (request.policy === 'missing') {
        const present = await inspectImage(engine, request.reference, ctx).catch((error: unknown) => {
          if (hasCode(error, 'IMAGE_NOT_FOUND')) return undefined
          throw error
        })
        if (present) return imageInfo(present, request.reference)
      }
      await pullImage(engine, registries, request, ctx)
      return imageInfo(await inspectImage(engine, request.reference, ctx), request.reference)
    },
    async list(ctx) {
      const engine = await machines.engine(ctx)
      const images = await listImages(engine, ctx)
      return images.flatMap(({ Id, RepoTags, Size, Created }) =>
        (RepoTags ?? [])
          .filter((reference) => reference !== '<none>:<none>' && !isSnapshotReference(reference))
          .map((reference) => ({ reference, id: Id, sizeBytes: Size, createdAt: Created * 1000 })),
      )
    },
    async remove(reference, ctx) {
      const engine = await machines.engine(ctx)
      await engine
        .json({ method: 'DELETE', path: imagePath(reference), signal: ctx.signal, context: { operation: 'removeImage' } })
        .catch((error: unknown) => {
          throw hasCode(error, 'NOT_FOUND')
            ? imageNotFound(error as VMKitError)
            : hasCode(error, 'INVALID_STATE')
              ? inUse(error as VMKitError)
              : error
        })
    },
    async import(archive, reference, ctx) {
      const engine = await machines.engine(ctx)
      const loaded = await loadImage(engine, Readable.from(archive, { objectMode: false }), ctx)
      if (reference === undefined) return imageInfo(await inspectImage(engine, loaded, ctx), loaded)
      const { repo, tag } = splitReference(reference)
      await engine.json({
        method: 'POST',
        path: `${imagePath(loaded)}/tag`,
        query: { repo, tag },
        signal: ctx.signal,
        context: { operation: 'import' },
      })
      return imageInfo(await inspectImage(engine, reference, ctx), reference)
    },
    async *export(reference, ctx) {
      const engine = await machines.engine(ctx)
      // The engine says 404 here, and on the other path, with some versions, 500.
      await inspectImage(engine, reference, ctx)
      const archive = await engine.stream({
        method: 'GET',
        path: `${imagePath(reference)}/get`,
        signal: ctx.signal,
        context: { operation: 'exportImage' },
      })
      try {
        yield* archive
      } finally {
        archive.destroy()
      }
    },
    async build(request, ctx) {
      const engine = await machines.engine(ctx)
      await buildImage(engine, request, ctx)
      return imageInfo(await inspectImage(engine, request.tag, ctx), request.tag)
    },
  }
}

export async function pullImage(
  engine: Engine,
  registries: RegistryAccess,
  { reference, platform, auth }: PullRequest,
  ctx: CallContext,
): Promise<void> {
  const { repo, tag } = splitReference(reference)
  const header = await authHeader(reference, auth, registries)
  const answer = await engine
    .stream({
      method: 'POST',
      path: '/images/create',
      query: { fromImage: repo, tag, platform },
      signal: ctx.signal,
      headers: header === undefined ? {} : { 'X-Registry-Auth': header },
      context: { operation: 'pull' },
    })
    .catch((error: unknown) => {
      throw hasCode(error, 'NOT_FOUND') ? imageNotFound(error as VMKitError) : error
    })
  try {
    await followProgress(answer, 'pull', engine.endpoint.target, ctx)
  } finally {
    answer.destroy()
  }
}

/** Loads a `docker save` archive, or from Docker 25 on an OCI one, and returns what it can be called by. */
export async function loadImage(engine: Engine, archive: Readable, ctx: CallContext): Promise<string> {
  const failed = new Promise<never>((_, reject) => archive.once('error', reject))
  failed.catch(() => {})
  const load = (async () => {
    const answer = await engine.stream({
      method: 'POST',
      path: '/images/load',
      query: { quiet: false },
      file: archive,
      signal: ctx.signal,
      context: { operation: 'import' },
    })
    try {
      return await followProgress(answer, 'import', engine.endpoint.target, ctx)
    } finally {
      answer.destroy()
    }
  })()
  const lines = await Promise.race([load, failed]).catch((error: unknown) => {
    archive.destroy()
    throw hasCode(error, 'BACKEND_ERROR', 'NOT_FOUND')
      ? notAnImage(error as VMKitError)
      : transportError(error, engine.endpoint.target, ctx.signal)
  })
  const words = lines.map(({ stream }) => stream ?? '').join('')
  const named = /Loaded image(?:\(s\))?: (\S+)/.exec(words)?.[1] ?? /Loaded image ID: (\S+)/.exec(words)?.[1]
  if (named === undefined)
    throw new VMKitError('INVALID_CONFIG', `The archive holds no image${words === '' ? '' : `: ${words.trim()}`}`, {
      driver: 'docker',
      operation: 'import',
      field: 'archive',
    })
  return named
}

/** An image given as the path of an archive, or of an OCI layout folder: loaded, then known by its own name. */
export async function loadImagePath(engine: Engine, path: string, platform: string | undefined, ctx: CallContext): Promise<string> {
  const found = await stat(path).catch(() => undefined)
  if (!found)
    throw invalidConfig('config.image', 'a reference, or the path of an archive or an OCI layout that exists', path, { driver: 'docker' })
  if (!found.isDirectory()) return loadImage(engine, createReadStream(path), ctx)
  const { openLayout, writeArchive } = await import('@vmkit/oci')
  const errors = { driver: 'docker', operation: 'create', field: 'config.image' }
  await using layout = await openLayout(path, { signal: ctx.signal, errors, ...(platform === undefined ? {} : { platform }) })
  return loadImage(engine, Readable.from(writeArchive(layout, { signal: ctx.signal }), { objectMode: false }), ctx)
}

function inspectImage(engine: Engine, reference: string, { signal }: Pick<CallContext, 'signal'>): Promise<ImageInspect> {
  return engine.json<ImageInspect>({ method: 'GET', path: `${imagePath(reference)}/json`, signal }).catch((error: unknown) => {
    throw hasCode(error, 'NOT_FOUND') ? imageNotFound(error as VMKitError) : error
  })
}

/** The slashes of a reference are part of the path; anything else that is special in a URL is not. */
function imagePath(reference: string): string {
  return `/images/${reference.split('/').map(encodeURIComponent).join('/')}`
}

/** `host:5000/name:tag` and `name@sha256:…` → the two parameters of the API. Without a tag it is `latest`, never all tags. */
export function splitReference(reference: string): { repo: string; tag: string } {
  const digest = reference.indexOf('@')
  if (digest >= 0) return { repo: reference.slice(0, digest), tag: reference.slice(digest + 1) }
  const colon = reference.lastIndexOf(':')
  if (colon > reference.lastIndexOf('/')) return { repo: reference.slice(0, colon), tag: reference.slice(colon + 1) }
  return { repo: reference, tag: 'latest' }
}

function imageInfo({ Id, Size, Created }: ImageInspect, reference: string): ImageInfo {
  return { reference, id: Id, sizeBytes: Size, createdAt: timeOf(Created) }
}

function imageNotFound(error: VMKitError): VMKitError {
  return new VMKitError('IMAGE_NOT_FOUND', error.message, { driver: 'docker', operation: error.operation, cause: error })
}

function inUse(error: VMKitError): VMKitError {
  return new VMKitError('CONFLICT', error.message, { driver: 'docker', operation: error.operation, cause: error })
}

function notAnImage(error: VMKitError): VMKitError {
  return new VMKitError('INVALID_CONFIG', `The archive is no image: ${error.message}`, {
    driver: 'docker',
    operation: 'import',
    field: 'archive',
    cause: error,
  })
}
