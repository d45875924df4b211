import { createWriteStream } from 'node:fs'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { VMKitError } from '@vmkit/core/driver'
import { checkIndex, resolveImage } from './documents.js'
import { abortReason, badImage, imageNotFound, throwIfAborted } from './errors.js'
import { folderFiles } from './files.js'
import { choosePlatform, hostPlatform, parsePlatform } from './platform.js'
import { parseReference } from './reference.js'
import type { ErrorContext, ImageSource, OpenOptions } from './source.js'
import { blobPath, once, readDocument, readJsonObject, type Stored, storedSource } from './stored.js'
import { ANNOTATIONS, type Descriptor, type ImageIndex, MEDIA_TYPES } from './types.js'

export const LAYOUT_FILE = 'oci-layout'
export const INDEX_FILE = 'index.json'
export const LAYOUT_CONTENT = '{"imageLayoutVersion":"1.0.0"}'

/** Opens an OCI image layout folder. @throws `INVALID_CONFIG` when it is none; `IMAGE_NOT_FOUND` without the platform or name asked for */
export async function openLayout(folder: string, { errors = {}, ...options }: OpenOptions = {}): Promise<ImageSource> {
  return openStoredLayout({ files: folderFiles(folder), origin: folder, errors }, options)
}

/** An image layout, wherever its files lie. */
export async function openStoredLayout(stored: Stored, options: Omit<OpenOptions, 'errors'>): Promise<ImageSource> {
  const { signal, platform } = options
  throwIfAborted(signal)
  const { errors, origin } = stored
  const marker = await readJsonObject(stored, LAYOUT_FILE, signal)
  if (marker === undefined) throw badImage(`${origin} is no OCI image layout: it has no ${LAYOUT_FILE}`, errors)
  if (marker.imageLayoutVersion !== '1.0.0') throw badImage(`${origin} is an image layout of another version than 1.0.0`, errors)
  const index = await readJsonObject(stored, INDEX_FILE, signal)
  if (index === undefined) throw badImage(`${origin} is no OCI image layout: it has no ${INDEX_FILE}`, errors)
  const root = pickImage(checkIndex(index, { digest: INDEX_FILE }, errors), origin, options, errors)
  const resolved = await resolveImage(root, (descriptor) => readDocument(stored, descriptor, signal), { platform, errors })
  return storedSource(stored, resolved, nameOf(root))
}

/** The entry of `index.json` that is meant. */
function pickImage({ manifests }: ImageIndex, origin: string, { reference, platform }: OpenOptions, errors: ErrorContext): Descriptor {
  if (reference !== undefined) {
    const found = manifests.find((each) => isNamed(each, reference))
    if (found) return found
    throw imageNotFound(`${origin} has no image ${JSON.stringify(reference)}; it has ${listNames(manifests)}`, errors)
  }
  const [first, ...others] = manifests
  if (!first) throw imageNotFound(`${origin} holds no image`, errors)
  if (others.every(({ digest }) => digest === first.digest)) return first
  // One image for several platforms, without an index of its own.
  const names = new Set(manifests.map((each) => refNames(each).join(' ')))
  const chosen = names.size === 1 && choosePlatform(manifests, platform === undefined ? hostPlatform() : parsePlatform(platform, errors))
  if (chosen) return chosen
  throw badImage(`${origin} has several images, ${listNames(manifests)}: say which one`, errors)
}

const refNames = ({ annotations = {} }: Descriptor) =>
  [annotations[ANNOTATIONS.containerdName], annotations[ANNOTATIONS.refName]].filter((name) => name !== undefined)

const listNames = (manifests: readonly Descriptor[]) => manifests.flatMap((each) => refNames(each)[0] ?? each.digest).join(', ')

function isNamed(descriptor: Descriptor, reference: string): boolean {
  const wanted = canonical(reference)
  return refNames(descriptor).some((name) => name === reference || (wanted !== undefined && canonical(name) === wanted))
}

/** The whole name; a bare tag, which `ref.name` may be, is none. */
function nameOf(descriptor: Descriptor): string | undefined {
  const name = refNames(descriptor).find((each) => /[/:]/.test(each))
  return name === undefined ? undefined : canonical(name)
}

export function canonical(reference: string): string | undefined {
  try {
    return parseReference(reference).canonical
  } catch {
    return undefined
  }
}

export interface WriteOptions {
  /** The name that it gets; default: the one it has. */
  reference?: string
  signal?: AbortSignal
}

/**
 * Writes the image (its manifest for one platform) as an OCI image layout.
 * @param folder must be empty or missing, and is so again after a failure
 * @throws `ALREADY_EXISTS`
 */
export async function writeLayout(folder: string, source: ImageSource, { reference, signal }: WriteOptions = {}): Promise<void> {
  const made = await mkdir(folder, { recursive: true })
  if (made === undefined && (await readdir(folder)).length > 0) {
    throw new VMKitError('ALREADY_EXISTS', `The folder ${folder} is not empty`, { field: 'folder' })
  }
  try {
    const put = async (descriptor: Descriptor, content: AsyncIterable<Uint8Array>) => {
      const path = join(folder, blobPath(descriptor))
      await mkdir(dirname(path), { recursive: true })
      await pipeline(content, createWriteStream(path), { signal })
    }
    for (const { descriptor, content } of imageBlobs(source, signal)) await put(descriptor, content)
    await writeFile(join(folder, LAYOUT_FILE), LAYOUT_CONTENT)
    await writeFile(join(folder, INDEX_FILE), layoutIndex(source, reference))
  } catch (error) {
    await rm(made ?? folder, { recursive: true, force: true })
    if (made === undefined) await mkdir(folder)
    throw signal?.aborted ? abortReason(signal) : error
  }
}

/** Manifest, config and layers, each blob once. */
export function imageBlobs(source: ImageSource, signal?: AbortSignal): { descriptor: Descriptor; content: AsyncIterable<Uint8Array> }[] {
  const documents = source.documents.slice(-2).map(({ descriptor, bytes }) => ({ descriptor, content: once(bytes) }))
  const layers = source.manifest.layers.map((descriptor) => ({ descriptor, content: source.blob(descriptor, { signal }) }))
  const seen = new Set<string>()
  return [...documents, ...layers].filter(({ descriptor: { digest } }) => !seen.has(digest) && seen.add(digest))
}

/** The content of `index.json`. @throws `INVALID_CONFIG` for a reference that is none */
export function layoutIndex(source: ImageSource, reference = source.reference): string {
  const { mediaType, digest, size } = source.descriptor
  const { os, architecture, variant } = source.config
  const parsed = reference === undefined ? undefined : parseReference(reference)
  const annotations = parsed && {
    [ANNOTATIONS.containerdName]: parsed.canonical,
    [ANNOTATIONS.refName]: parsed.tag ?? parsed.canonical,
  }
  const platform = { os, architecture, ...(variant ? { variant } : {}) }
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.index,
    manifests: [{ mediaType, digest, size, platform, ...(annotations ? { annotations } : {}) }],
  })
}
