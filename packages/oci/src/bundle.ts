import { type MachineConfig, parseConfig } from '@vmkit/core'
import { VMKitError } from '@vmkit/core/driver'
import { openArchiveFiles, openTarFiles } from './archive.js'
import { archiveItems, textItem } from './archive-write.js'
import { isObject, readAll } from './documents.js'
import { badImage } from './errors.js'
import { readFileFrom } from './files.js'
import type { ErrorContext, ImageSource } from './source.js'
import { type Spooled, spool } from './spool.js'
import { plainHeader } from './tar/entry.js'
import { type TarItem, writeTar } from './tar/write.js'

/*
 * The portable bundle, format 1: one uncompressed tar of
 *
 *   vmkit.json                          {"vmkitBundle":1,"driver":"docker","content":"image","config":{…}}; the first entry
 *   oci-layout, index.json, manifest.json, blobs/…   with content "image": the machine's root file system as one image,
 *                                       an OCI image layout and a `docker save` archive at once (see `writeArchive`)
 *   files/<name>                        with content "disk": `disk.qcow2`; whatever else a driver adds
 *
 * `docker load`, `skopeo` and `ctr images import` take a bundle of an image as it is. `config` is the MachineConfig without
 * vmkit's own labels, without `ttl`, and without `files`, which lie in the image already; it holds `env`, so a bundle is as
 * secret as that. A bundle of a disk needs a driver that boots disks: containers refuse it.
 */
const FORMAT = 1
const BUNDLE_MANIFEST = 'vmkit.json'
const FILES = 'files/'
const LONGEST_MANIFEST = 2 ** 20

/** A file beside the image; `size` in bytes. */
export interface BundleFile {
  size: number
  read(options?: { signal?: AbortSignal }): AsyncIterable<Uint8Array>
}

export interface BundleContent {
  /** The driver that the machine comes from. */
  driver: string
  config: MachineConfig
  /** The root file system; a bundle without one is of a disk. */
  image?: ImageSource
  /** By name: letters, digits, `.`, `_`, `-`. The disk of a bundle without an image is `disk.qcow2`. */
  files?: Readonly<Record<string, BundleFile>>
}

export const BUNDLE_DISK = 'disk.qcow2'

/** The bundle, as a stream. @throws `INVALID_CONFIG` for a name of a file that is none, or neither image nor disk */
export function writeBundle(content: BundleContent, { signal }: { signal?: AbortSignal } = {}): AsyncGenerator<Uint8Array> {
  const { image, files = {} } = content
  for (const name of Object.keys(files))
    if (!isFileName(name)) throw badImage(`A bundle takes no file ${JSON.stringify(name)}`, { field: 'bundle' })
  if (!image && !Object.hasOwn(files, BUNDLE_DISK)) throw badImage(`A bundle needs an image or ${BUNDLE_DISK}`, { field: 'bundle' })
  return writeTar(bundleItems(content, signal))
}

const isFileName = (name: string) => /^\w[\w.-]{0,99}$/.test(name)

async function* bundleItems({ driver, config, image, files = {} }: BundleContent, signal?: AbortSignal): AsyncGenerator<TarItem> {
  const content = image ? 'image' : 'disk'
  yield textItem(BUNDLE_MANIFEST, JSON.stringify({ vmkitBundle: FORMAT, driver, content, config: portableConfig(config) }))
  if (image) yield* archiveItems(image, { signal })
  for (const [name, { size, read }] of Object.entries(files))
    yield { header: plainHeader(`${FILES}${name}`, size), content: read({ signal }) }
}

/** What a machine on another host starts from. */
function portableConfig({ ttl: _ttl, files: _files, labels, ...rest }: MachineConfig): MachineConfig {
  return { ...rest, files: [], labels: Object.fromEntries(Object.entries(labels).filter(([key]) => !key.startsWith('vmkit.'))) }
}

export interface Bundle extends AsyncDisposable {
  readonly driver: string
  /** Checked by core; the driver that imports it checks what it can honour. */
  readonly config: MachineConfig
  /** `undefined` for a bundle of a disk. */
  readonly image: ImageSource | undefined
  readonly files: ReadonlyMap<string, BundleFile>
  /** The whole bundle again: what `docker load` takes, when it has an image. */
  archive(): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

export interface ReadBundleOptions {
  /** Refuses a bundle of the other kind with `UNSUPPORTED`. */
  content?: 'image' | 'disk'
  signal?: AbortSignal
  errors?: ErrorContext
}

/**
 * Reads a bundle to its end into a temporary file before anything is made of it, as one that breaks off must leave nothing.
 * Its blobs are verified when they are read.
 * @throws `INVALID_CONFIG` for what is no bundle
 */
export async function readBundle(
  stream: AsyncIterable<Uint8Array>,
  { content: wanted, signal, errors: given }: ReadBundleOptions = {},
): Promise<Bundle> {
  const errors = { field: 'bundle', ...given }
  const spooled = await spool(stream, signal)
  try {
    return await openBundle(spooled, wanted, errors, signal)
  } catch (error) {
    await spooled.remove()
    throw error
  }
}

async function openBundle(
  spooled: Spooled,
  wanted: ReadBundleOptions['content'],
  errors: ErrorContext,
  signal?: AbortSignal,
): Promise<Bundle> {
  const files = await openTarFiles(spooled.path, { errors, signal }).catch((error: unknown) => {
    throw error instanceof VMKitError && error.code === 'INVALID_CONFIG'
      ? notABundle('it is no tar that can be read', errors, error)
      : error
  })
  try {
    const size = await files.size(BUNDLE_MANIFEST)
    if (size === undefined || size > LONGEST_MANIFEST) throw notABundle(`it has no ${BUNDLE_MANIFEST}`, errors)
    const { driver, content, config } = parseManifest(
      await readAll(files.read(BUNDLE_MANIFEST, { signal }), LONGEST_MANIFEST, errors),
      errors,
    )
    if (wanted !== undefined && wanted !== content) {
      throw new VMKitError(
        'UNSUPPORTED',
        `This bundle holds ${content === 'disk' ? 'a disk' : 'an image'} of ${driver}, and ${wanted === 'disk' ? 'a disk' : 'an image'} is needed`,
        { ...errors, capability: 'bundle' },
      )
    }
    const image = content === 'image' ? await openArchiveFiles({ files, origin: 'the bundle', errors }, { signal }) : undefined
    const extra = new Map<string, BundleFile>()
    for (const name of files.names()) {
      if (!name.startsWith(FILES) || !isFileName(name.slice(FILES.length))) continue
      extra.set(name.slice(FILES.length), { size: (await files.size(name)) ?? 0, read: (options) => files.read(name, options) })
    }
    if (content === 'disk' && !extra.has(BUNDLE_DISK)) throw notABundle(`it has no ${FILES}${BUNDLE_DISK}`, errors)
    const close = async () => {
      await files.close()
      await spooled.remove()
    }
    return {
      driver,
      config,
      image,
      files: extra,
      archive: () => readFileFrom(spooled.path, { signal }),
      close,
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    await files.close()
    throw error
  }
}

function parseManifest(bytes: Uint8Array, errors: ErrorContext): { driver: string; content: 'image' | 'disk'; config: MachineConfig } {
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    // told below, without a part of it: it may hold secrets
  }
  if (!isObject(parsed) || parsed.vmkitBundle !== FORMAT) throw notABundle(`${BUNDLE_MANIFEST} is not of format ${FORMAT}`, errors)
  const { driver, content, config } = parsed
  if (typeof driver !== 'string' || (content !== 'image' && content !== 'disk') || !isObject(config)) {
    throw notABundle(`${BUNDLE_MANIFEST} lacks the driver, the content or the config`, errors)
  }
  return { driver, content, config: parseConfig(config) }
}

function notABundle(reason: string, errors: ErrorContext, cause?: unknown): VMKitError {
  return badImage(`This is no bundle of vmkit: ${reason}`, errors, { cause })
}
