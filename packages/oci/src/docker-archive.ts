/** What `docker save` wrote before Docker 25, and podman and kaniko still do (moby, image/spec, "Combined Image JSON + Filesystem Changeset Format"). */
import { detectCompression } from './decompress.js'
import { digestOf, digestOfStream } from './digest.js'
import { checkConfig, describeBytes, isObject, isTextList, LONGEST_DOCUMENT, parseDocument, readAll, requirePlatform } from './documents.js'
import { badImage, imageNotFound } from './errors.js'
import { canonical } from './layout.js'
import { parsePlatform } from './platform.js'
import type { ImageSource, OpenOptions } from './source.js'
import { readJson, type Stored, storedSource } from './stored.js'
import { type Descriptor, type Manifest, MEDIA_TYPES } from './types.js'

interface SavedImage {
  Config: string
  Layers: string[]
  RepoTags?: string[] | null
}

/** Such an archive has no manifest of the kind that registries have: one is made, the same for the same content. */
export async function openDockerArchive(stored: Stored, { reference, platform, signal }: OpenOptions): Promise<ImageSource> {
  const { errors, files, origin } = stored
  const images = await readJson(stored, 'manifest.json', signal)
  if (!Array.isArray(images) || !images.every(isSavedImage))
    throw badImage(`manifest.json of ${origin} is not that of \`docker save\``, errors)
  const image = pickSaved(images, stored, reference)
  if ((await files.size(image.Config)) === undefined) throw badImage(`${origin} has no ${image.Config}`, errors)
  const configBytes = await readAll(files.read(image.Config, { signal }), LONGEST_DOCUMENT, errors)
  const config = describeBytes(configBytes, MEDIA_TYPES.config)
  const parsed = parseDocument(configBytes, config, errors)
  const paths = new Map<string, string>()
  const layers: Descriptor[] = []
  const diffIds = isObject(parsed.rootfs) && isTextList(parsed.rootfs.diff_ids) ? parsed.rootfs.diff_ids : []
  for (const [at, path] of image.Layers.entries()) {
    const layer = await describeLayer(stored, path, diffIds[at], signal)
    layers.push(layer)
    paths.set(layer.digest, path)
  }
  const manifest: Manifest = { schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, config, layers }
  const checked = checkConfig(parsed, manifest, errors)
  if (platform !== undefined) requirePlatform(checked, parsePlatform(platform, errors), errors)
  const bytes = Buffer.from(JSON.stringify(manifest))
  const descriptor = describeBytes(bytes, MEDIA_TYPES.manifest)
  const documents = [
    { descriptor, bytes },
    { descriptor: config, bytes: configBytes },
  ]
  const name = image.RepoTags?.[0]
  const located: Stored = { ...stored, locate: ({ digest }) => paths.get(digest) ?? digest }
  return storedSource(located, { descriptor, manifest, config: checked, documents }, name === undefined ? undefined : canonical(name))
}

function isSavedImage(value: unknown): value is SavedImage {
  if (!isObject(value)) return false
  const { Config, Layers, RepoTags } = value
  return typeof Config === 'string' && isTextList(Layers) && (RepoTags === undefined || RepoTags === null || isTextList(RepoTags))
}

function pickSaved(images: readonly SavedImage[], { origin, errors }: Stored, reference: string | undefined): SavedImage {
  const [first, second] = images
  if (!first) throw imageNotFound(`${origin} holds no image`, errors)
  const names = images.flatMap(({ RepoTags }) => RepoTags ?? [])
  if (reference === undefined) {
    if (second) throw badImage(`${origin} has several images, ${names.join(', ')}: say which one`, errors)
    return first
  }
  const wanted = canonical(reference)
  const found = images.find(({ RepoTags }) =>
    RepoTags?.some((name) => name === reference || (wanted !== undefined && canonical(name) === wanted)),
  )
  if (found) return found
  throw imageNotFound(`${origin} has no image ${JSON.stringify(reference)}; it has ${names.join(', ') || 'one without a name'}`, errors)
}

/** A plain layer has its digest in the config; of a compressed one it is computed. */
async function describeLayer(stored: Stored, path: string, diffId: string | undefined, signal?: AbortSignal): Promise<Descriptor> {
  const { files, origin, errors } = stored
  const size = await files.size(path)
  if (size === undefined) throw badImage(`${origin} has no ${path}`, errors)
  const compression = await startsWith(stored, path, signal)
  if (compression === 'none') return { mediaType: MEDIA_TYPES.layer, digest: diffId ?? digestOf(path), size }
  const { digest } = await digestOfStream(files.read(path, { signal }))
  return { mediaType: compression === 'gzip' ? MEDIA_TYPES.layerGzip : MEDIA_TYPES.layerZstd, digest, size }
}

async function startsWith({ files }: Stored, path: string, signal?: AbortSignal) {
  for await (const chunk of files.read(path, { signal })) return detectCompression(chunk)
  return 'none' as const
}
