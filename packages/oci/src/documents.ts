/** From the outermost document of an image to its manifest and config, for every kind of source. */
import { digestOf } from './digest.js'
import { badImage, imageNotFound } from './errors.js'
import { choosePlatform, formatPlatform, hostPlatform, parsePlatform } from './platform.js'
import type { ErrorContext, ImageDocument, ImageSource, OpenOptions } from './source.js'
import { type Descriptor, type ImageConfig, type ImageIndex, type Manifest, MEDIA_TYPES } from './types.js'

/** Docker and containerd take no larger manifest (4 MiB); configs of real images are some KiB. */
export const LONGEST_DOCUMENT = 4 * 2 ** 20
/** An index of an index is legal; an endless chain of them is not. */
const DEEPEST_INDEX = 4

export const isIndexType = (mediaType: string) => mediaType === MEDIA_TYPES.index || mediaType === MEDIA_TYPES.dockerList
export const isManifestType = (mediaType: string) => mediaType === MEDIA_TYPES.manifest || mediaType === MEDIA_TYPES.dockerManifest

export type Resolved = Pick<ImageSource, 'descriptor' | 'manifest' | 'config' | 'documents'>
/** Reads one document and verifies it. */
export type FetchDocument = (descriptor: Descriptor) => Promise<Uint8Array>

/** Follows indexes to the manifest of the platform, and reads its config. */
export async function resolveImage(
  root: Descriptor,
  fetch: FetchDocument,
  { platform, errors = {} }: Pick<OpenOptions, 'platform' | 'errors'>,
): Promise<Resolved> {
  const wanted = platform === undefined ? hostPlatform() : parsePlatform(platform, { ...errors, field: 'platform' })
  const documents: ImageDocument[] = []
  let descriptor = root
  for (let depth = 0; ; depth++) {
    const bytes = await fetch(descriptor)
    documents.push({ descriptor, bytes })
    const content = parseDocument(bytes, descriptor, errors)
    if (!isIndex(content, descriptor)) {
      const manifest = checkManifest(content, descriptor, errors)
      const config = await fetch(manifest.config)
      documents.push({ descriptor: manifest.config, bytes: config })
      const parsed = checkConfig(parseDocument(config, manifest.config, errors), manifest, errors)
      if (platform !== undefined && depth === 0) requirePlatform(parsed, wanted, errors)
      return { descriptor, manifest, config: parsed, documents }
    }
    if (depth === DEEPEST_INDEX) throw badImage('The image is an index of indexes without an end', errors)
    const { manifests } = checkIndex(content, descriptor, errors)
    const chosen = choosePlatform(manifests, wanted)
    if (!chosen) {
      const offered = manifests.flatMap((each) => (each.platform ? [formatPlatform(each.platform)] : []))
      throw imageNotFound(`The image has nothing for ${formatPlatform(wanted)}; it has ${offered.join(', ') || 'nothing at all'}`, errors)
    }
    descriptor = chosen
  }
}

export function requirePlatform(config: ImageConfig, wanted: Parameters<typeof choosePlatform>[1], errors: ErrorContext): void {
  const { os, architecture, variant } = config
  const offered = { mediaType: '', digest: '', size: 0, platform: { os, architecture, variant } }
  if (!choosePlatform([offered], wanted)) {
    throw imageNotFound(`The image has nothing for ${formatPlatform(wanted)}; it is for ${formatPlatform(offered.platform)}`, errors)
  }
}

export function parseDocument(bytes: Uint8Array, { digest }: Pick<Descriptor, 'digest'>, errors: ErrorContext): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    if (isObject(parsed)) return parsed
  } catch {
    // told below
  }
  throw badImage(`The document ${digest} of the image is no JSON object`, errors)
}

// A registry may leave `mediaType` out of the document; a layout may name none in the descriptor.
function isIndex(content: Record<string, unknown>, { mediaType }: Descriptor): boolean {
  return isIndexType(mediaType) || (!isManifestType(mediaType) && Array.isArray(content.manifests))
}

export function checkIndex(content: Record<string, unknown>, { digest }: Pick<Descriptor, 'digest'>, errors: ErrorContext): ImageIndex {
  const { manifests } = content
  if (!Array.isArray(manifests) || !manifests.every(isDescriptor))
    throw badImage(`The index ${digest} has no usable list of manifests`, errors)
  return content as unknown as ImageIndex
}

function checkManifest(content: Record<string, unknown>, { digest }: Pick<Descriptor, 'digest'>, errors: ErrorContext): Manifest {
  const { schemaVersion, config, layers } = content
  if (schemaVersion === 1) throw badImage('The image has a manifest of schema 1, which registries gave up in 2019', errors)
  if (!isDescriptor(config) || !Array.isArray(layers) || !layers.every(isDescriptor)) {
    throw badImage(`The manifest ${digest} has no usable config and layers`, errors)
  }
  return content as unknown as Manifest
}

export function checkConfig(content: Record<string, unknown>, { layers, config }: Manifest, errors: ErrorContext): ImageConfig {
  const { os, architecture, rootfs } = content
  const diffIds = isObject(rootfs) ? rootfs.diff_ids : undefined
  if (typeof os !== 'string' || typeof architecture !== 'string' || !isTextList(diffIds)) {
    throw badImage(`The config ${config.digest} (${config.mediaType}) is not that of a container image`, errors)
  }
  if (diffIds.length !== layers.length) {
    throw badImage(`The image has ${layers.length} layers, and its config ${diffIds.length} digests of layers`, errors)
  }
  return content as unknown as ImageConfig
}

function isDescriptor(value: unknown): value is Descriptor {
  if (!isObject(value)) return false
  const { mediaType, digest, size } = value
  return typeof mediaType === 'string' && isDigestText(digest) && Number.isSafeInteger(size) && (size as number) >= 0
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
export const isTextList = (value: unknown): value is string[] => Array.isArray(value) && value.every((each) => typeof each === 'string')
const isDigestText = (value: unknown) => typeof value === 'string' && /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/.test(value)

/** The descriptor of bytes that are at hand. */
export function describeBytes(bytes: Uint8Array, mediaType: string, more: Partial<Descriptor> = {}): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length, ...more }
}

/** Reads a stream whole. @throws `INVALID_CONFIG` past `limit` bytes */
export async function readAll(content: AsyncIterable<Uint8Array>, limit: number, errors: ErrorContext): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of content) {
    size += chunk.length
    if (size > limit) throw badImage(`A document of the image is longer than ${limit} bytes`, errors)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
