import type { Stats } from 'node:fs'
import { lstat, readdir, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createHash } from './crypto.js'
import { digestOfStream } from './digest.js'
import { describeBytes } from './documents.js'
import { badImage, throwIfAborted } from './errors.js'
import { readFileFrom } from './files.js'
import { hostPlatform, parsePlatform } from './platform.js'
import { parseReference } from './reference.js'
import type { ErrorContext, ImageSource } from './source.js'
import { spool } from './spool.js'
import { once } from './stored.js'
import { plainHeader, type TarHeader } from './tar/entry.js'
import { type TarItem, writeTar } from './tar/write.js'
import { type ContainerConfig, type Descriptor, type ImageConfig, type Manifest, MEDIA_TYPES } from './types.js'

export interface FromFolderOptions {
  /** What it runs. */
  config?: ContainerConfig
  reference?: string
  /** Default: Linux on the architecture of this host. */
  platform?: string
  /** Default none. */
  compression?: 'none' | 'gzip'
  /** `root`: everything belongs to 0:0, whoever owns it here. Default `keep`. */
  ownership?: 'keep' | 'root'
  signal?: AbortSignal
  errors?: ErrorContext
}

/**
 * An image of one layer: what is in a folder, with hard links, modes and times; sockets are left out. Node cannot read
 * extended attributes, so it has none. The layer lies in a temporary file until `close`.
 * @throws `INVALID_CONFIG` when the folder is none, or a file changes meanwhile
 */
export async function imageFromFolder(folder: string, options: FromFolderOptions = {}): Promise<ImageSource> {
  const { errors = {}, signal, compression = 'none' } = options
  const found = await stat(folder).catch(() => undefined)
  if (!found?.isDirectory()) throw badImage(`${folder} is no folder`, errors)
  let diffId = ''
  const tar = tee(writeTar(folderItems(folder, options)), (digest) => {
    diffId = digest
  })
  const layer = await spool(compression === 'gzip' ? gzip(tar) : tar, signal).catch((error: unknown) => {
    if (error instanceof Error && /changed its size|ENOENT/.test(error.message))
      throw badImage(`${folder} changed while it was packed`, errors, { cause: error })
    throw error
  })
  const { digest, size } = await digestOfStream(readFileFrom(layer.path))
  const descriptor: Descriptor = { mediaType: compression === 'gzip' ? MEDIA_TYPES.layerGzip : MEDIA_TYPES.layer, digest, size }
  return singleLayerImage({
    ...options,
    folder,
    descriptor,
    diffId,
    read: (offset) => readFileFrom(layer.path, { offset }),
    close: layer.remove,
  })
}

interface Single extends FromFolderOptions {
  folder: string
  descriptor: Descriptor
  diffId: string
  read(offset: number): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

function singleLayerImage({ folder, descriptor: layer, diffId, read, close, ...options }: Single): ImageSource {
  const platform = options.platform === undefined ? hostPlatform() : parsePlatform(options.platform)
  const config: ImageConfig = { ...platform, config: options.config ?? {}, rootfs: { type: 'layers', diff_ids: [diffId] } }
  const configBytes = Buffer.from(JSON.stringify(config))
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: describeBytes(configBytes, MEDIA_TYPES.config),
    layers: [layer],
  }
  const bytes = Buffer.from(JSON.stringify(manifest))
  const descriptor = describeBytes(bytes, MEDIA_TYPES.manifest)
  const documents = [
    { descriptor, bytes },
    { descriptor: manifest.config, bytes: configBytes },
  ]
  return {
    origin: folder,
    ...(options.reference === undefined ? {} : { reference: parseReference(options.reference).canonical }),
    descriptor,
    manifest,
    config,
    documents,
    blob({ digest }, { offset = 0 } = {}) {
      const document = documents.find((each) => each.descriptor.digest === digest)
      if (document) return once(document.bytes.subarray(offset))
      if (digest !== layer.digest) throw badImage(`The image has no ${digest}`)
      return read(offset)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function* tee(content: AsyncIterable<Uint8Array>, done: (digest: string) => void): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  for await (const chunk of content) {
    hash.update(chunk)
    yield chunk
  }
  done(`sha256:${hash.digest('hex')}`)
}

async function* gzip(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { createGzip } = await import('node:zlib')
  const { pipeline, Readable } = await import('node:stream')
  yield* pipeline(Readable.from(content, { objectMode: false }), createGzip(), () => {
    // The iterator throws the error.
  }) as AsyncIterable<Uint8Array>
}

/** Sorted, so that the same folder gives the same digest; a folder comes before what is in it. */
async function* folderItems(
  folder: string,
  { ownership = 'keep', signal }: Pick<FromFolderOptions, 'ownership' | 'signal'>,
): AsyncGenerator<TarItem> {
  const seen = new Map<string, string>()
  const visit = async function* (path: string): AsyncGenerator<TarItem> {
    throwIfAborted(signal)
    const full = join(folder, path)
    const stats = await lstat(full)
    const first = stats.nlink > 1 && !stats.isDirectory() ? seen.get(`${stats.dev}:${stats.ino}`) : undefined
    const header = first === undefined ? await headerOf(path, full, stats) : plainHeader(path, 0, { type: 'hardlink', linkname: first })
    if (!header) return
    if (stats.nlink > 1 && first === undefined) seen.set(`${stats.dev}:${stats.ino}`, path)
    const owner = ownership === 'root' ? { uid: 0, gid: 0 } : { uid: stats.uid, gid: stats.gid }
    yield {
      header: { ...header, ...owner, mode: stats.mode & 0o7777, mtimeMs: Math.floor(stats.mtimeMs / 1000) * 1000 },
      ...(header.type === 'file' ? { content: readFileFrom(full, { signal }) } : {}),
    }
    if (!stats.isDirectory()) return
    for (const name of (await readdir(full)).sort()) yield* visit(path === '.' ? name : `${path}/${name}`)
  }
  yield* visit('.')
}

async function headerOf(path: string, full: string, stats: Stats): Promise<TarHeader | undefined> {
  if (stats.isFile()) return plainHeader(path, stats.size)
  if (stats.isDirectory()) return plainHeader(path, 0, { type: 'directory' })
  if (stats.isSymbolicLink()) return plainHeader(path, 0, { type: 'symlink', linkname: await readlink(full) })
  if (stats.isFIFO()) return plainHeader(path, 0, { type: 'fifo' })
  if (stats.isSocket()) return undefined
  // Linux, `gnu_dev_major` and `gnu_dev_minor` of glibc, for the 32 bits that a file system stores.
  const device = { major: (stats.rdev >>> 8) & 0xfff, minor: (stats.rdev & 0xff) | ((stats.rdev >>> 12) & 0xfff00) }
  return plainHeader(path, 0, { type: stats.isCharacterDevice() ? 'character-device' : 'block-device', device })
}
