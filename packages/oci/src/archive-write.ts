import { INDEX_FILE, imageBlobs, LAYOUT_CONTENT, LAYOUT_FILE, layoutIndex, type WriteOptions } from './layout.js'
import { parseReference } from './reference.js'
import type { ImageSource } from './source.js'
import { blobPath, once } from './stored.js'
import { plainHeader } from './tar/entry.js'
import { type TarItem, writeTar } from './tar/write.js'

/**
 * The image as a tar that is an OCI image layout and a `docker save` archive at once, as Docker 25 and later write it:
 * `docker load` of any version takes it. Its layers are not decompressed.
 */
export function writeArchive(source: ImageSource, options: WriteOptions = {}): AsyncGenerator<Uint8Array> {
  return writeTar(archiveItems(source, options))
}

export async function* archiveItems(source: ImageSource, { reference = source.reference, signal }: WriteOptions): AsyncGenerator<TarItem> {
  yield textItem(LAYOUT_FILE, LAYOUT_CONTENT)
  yield textItem(INDEX_FILE, layoutIndex(source, reference))
  yield textItem('manifest.json', savedManifest(source, reference))
  for (const name of ['blobs', 'blobs/sha256']) yield { header: plainHeader(name, 0, { type: 'directory', mode: 0o755 }) }
  for (const { descriptor, content } of imageBlobs(source, signal)) {
    yield { header: plainHeader(blobPath(descriptor), descriptor.size), content }
  }
}

export function textItem(name: string, text: string): TarItem {
  const bytes = Buffer.from(text)
  return { header: plainHeader(name, bytes.length), content: once(bytes) }
}

function savedManifest({ manifest }: ImageSource, reference: string | undefined): string {
  const { tag, familiar } = reference === undefined ? {} : parseReference(reference)
  // Docker takes no digest among the names.
  const name = tag === undefined ? undefined : familiar?.replace(/@.*/, '')
  return JSON.stringify([
    { Config: blobPath(manifest.config), RepoTags: name === undefined ? null : [name], Layers: manifest.layers.map(blobPath) },
  ])
}
