/** OCI images as disks, in the cache: a disk per manifest and size, and a note per reference of a registry. */
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  type CallContext,
  type DriverImages,
  type ImageInfo,
  invalidConfig,
  type PullRequest,
  VMKitError,
  type VMKitErrorDetails,
} from '@vmkit/core/driver'
import { errno, writeJson } from '@vmkit/core/state-folder'
import type { ContainerConfig, Credentials, ImageSource } from '@vmkit/oci'
import { DRIVER, systemError } from '../errors.js'
import type { Host } from '../host.js'
import { cachedDisk, diskPath, imageKey, isThere } from './disk-cache.js'
import { baseSize, DEFAULT_DISK_SIZE, makeRootDisk } from './root-disk.js'

/** An image that is ready to boot. */
export interface ReadyImage {
  /** Of its manifest. */
  digest: string
  config: ContainerConfig
  /** Path of the disk in the cache. */
  disk: string
}

interface Note extends Omit<ReadyImage, 'disk'> {
  reference: string
  sizeBytes: number
  createdAt: number
}

const errors = { driver: DRIVER }

/** An `image` of a config: a path is opened anew each time, a reference as `pull` says. */
export async function readyImage(
  host: Host,
  image: string,
  pull: 'missing' | 'always' | 'never',
  size: number | undefined,
  ctx: CallContext,
): Promise<ReadyImage> {
  const field = { ...errors, operation: 'create', field: 'config.image' }
  const bytes = baseSize(size)
  if (isPath(image)) {
    const { openImage } = await import('@vmkit/oci')
    await using source = await openImage(image, { signal: ctx.signal, errors: field })
    return { digest: source.descriptor.digest, config: source.config.config ?? {}, disk: await diskOf(host, source, bytes, ctx) }
  }
  const reference = await canonicalName(image, field)
  const known = pull === 'always' ? undefined : await readNote(host, reference)
  const disk = known && diskPath(host.options.cacheDir, keyOf(known.digest, bytes))
  if (disk !== undefined && (await isThere(disk))) return { ...(known as Note), disk }
  if (pull === 'never') throw notHere(reference, field)
  return fetchImage(host, { reference, policy: 'always' }, bytes, ctx, field)
}

/** Docker takes `UPPER/case` for a host called UPPER; whoever writes that means a repository. @throws VMKitError `INVALID_CONFIG` */
async function canonicalName(reference: string, details: { field: string; operation?: string }): Promise<string> {
  const { parseReference } = await import('@vmkit/oci')
  const { registry, canonical } = parseReference(reference, { ...errors, ...details })
  if (registry === registry.toLowerCase() || /[.:]/.test(registry)) return canonical
  throw invalidConfig(details.field, 'a reference whose repository is in lower case', reference, { ...errors, ...details })
}

/** A reference never begins like a path or one of the prefixes of a path. */
function isPath(image: string): boolean {
  return /^\.{0,2}\//.test(image) || /^(oci|oci-archive|docker-archive):/.test(image)
}

function notHere(reference: string, details: object): VMKitError {
  return new VMKitError('IMAGE_NOT_FOUND', `There is no image ${reference} here, and it may not be pulled`, details)
}

async function fetchImage(
  host: Host,
  { reference, platform, auth }: PullRequest,
  bytes: number,
  ctx: CallContext,
  details: VMKitErrorDetails = errors,
): Promise<ReadyImage & Note> {
  const { openImage } = await import('@vmkit/oci')
  const credentials = auth as Credentials | undefined
  await using source = await openImage(reference, {
    signal: ctx.signal,
    report: (progress) => ctx.report({ ...progress, phase: 'pull' }),
    errors: details,
    ...(platform === undefined ? {} : { platform }),
    ...(credentials === undefined ? {} : { credentials }),
  })
  return keep(host, source, source.reference ?? reference, bytes, ctx)
}

async function keep(host: Host, source: ImageSource, reference: string, bytes: number, ctx: CallContext): Promise<ReadyImage & Note> {
  const disk = await diskOf(host, source, bytes, ctx)
  const note: Note = {
    reference,
    digest: source.descriptor.digest,
    config: source.config.config ?? {},
    sizeBytes: source.manifest.layers.reduce((sum, { size }) => sum + size, 0),
    createdAt: Date.parse(source.config.created ?? '') || Date.now(),
  }
  await mkdir(notesFolder(host), { recursive: true, mode: 0o700 })
  writeJson(notePath(host, reference), note)
  return { ...note, disk }
}

const keyOf = (digest: string, bytes: number): string => `${imageKey(digest)}${bytes === DEFAULT_DISK_SIZE ? '' : `-${bytes}`}`

function diskOf({ options }: Host, source: ImageSource, size: number, { signal, report }: CallContext): Promise<string> {
  return cachedDisk(options, keyOf(source.descriptor.digest, size), async (path) => {
    const { unpackImage } = await import('@vmkit/oci')
    const folder = await mkdtemp(join(options.cacheDir, 'disks', 'unpacked-'))
    const root = join(folder, 'root')
    try {
      const ownership = process.getuid?.() === 0 ? 'apply' : 'record'
      const { records } = await unpackImage(source, root, { ownership, signal, report, errors })
      await makeRootDisk(root, path, { size, signal, ...(ownership === 'record' ? { owners: records } : {}) })
    } catch (error) {
      throw systemError(error, { operation: 'create' })
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
}

const notesFolder = ({ options }: Host): string => join(options.cacheDir, 'images')
const notePath = (host: Host, reference: string): string =>
  join(notesFolder(host), `${createHash('sha256').update(reference).digest('hex')}.json`)

async function readNote(host: Host, reference: string): Promise<Note | undefined> {
  try {
    return JSON.parse(await readFile(notePath(host, reference), 'utf8')) as Note
  } catch (error) {
    if (errno(error) === 'ENOENT') return undefined
    throw systemError(error)
  }
}

const infoOf = ({ reference, digest, sizeBytes, createdAt }: Note): ImageInfo => ({ reference, id: digest, sizeBytes, createdAt })

export function kvmImages(host: Host): DriverImages {
  const canonical = (reference: string): Promise<string> => canonicalName(reference, { field: 'reference' })

  async function notes(): Promise<Note[]> {
    const names = await readdir(notesFolder(host)).catch(() => [])
    const found = await Promise.all(names.map((name) => readFile(join(notesFolder(host), name), 'utf8').catch(() => '')))
    return found.filter((text) => text !== '').map((text) => JSON.parse(text) as Note)
  }

  return {
    async pull(request, ctx) {
      const reference = await canonical(request.reference)
      const known = request.policy === 'missing' ? await readNote(host, reference) : undefined
      return infoOf(known ?? (await fetchImage(host, { ...request, reference }, DEFAULT_DISK_SIZE, ctx)))
    },
    async list() {
      return (await notes()).map(infoOf)
    },
    async remove(reference) {
      const name = await canonical(reference)
      const note = await readNote(host, name)
      if (!note) throw new VMKitError('IMAGE_NOT_FOUND', `There is no image ${name} here`, errors)
      const user = host.store.list().find(({ boot }) => boot.imageDigest === note.digest)
      if (user) throw new VMKitError('CONFLICT', `The machine ${user.name} uses the image ${name}`, { ...errors, retryable: false })
      await rm(notePath(host, name), { force: true })
      if ((await notes()).some(({ digest }) => digest === note.digest)) return
      const disks = join(host.options.cacheDir, 'disks')
      const key = keyOf(note.digest, DEFAULT_DISK_SIZE)
      for (const file of await readdir(disks)) if (file.startsWith(key)) await rm(join(disks, file), { force: true })
    },
    async import(archive, reference, ctx) {
      const { openImage } = await import('@vmkit/oci')
      await mkdir(notesFolder(host), { recursive: true, mode: 0o700 })
      const folder = await mkdtemp(join(host.options.cacheDir, 'import-'))
      try {
        const path = join(folder, 'image.tar')
        await pipeline(Readable.from(archive, { objectMode: false }), createWriteStream(path, { mode: 0o600 }), { signal: ctx.signal })
        await using source = await openImage(path, { signal: ctx.signal, errors })
        const name = reference ?? source.reference
        if (name === undefined) throw invalidConfig('reference', 'a reference, because the archive names none', undefined, errors)
        return infoOf(await keep(host, source, await canonical(name), DEFAULT_DISK_SIZE, ctx))
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    },
  }
}
