/** Images made in memory, for tests. */
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type Descriptor, digestOf, type ImageConfig, type ImageSource, MEDIA_TYPES, openContent } from '../src/index.js'
import { plainHeader, type TarHeader } from '../src/tar/entry.js'
import { type TarItem, writeTar } from '../src/tar/write.js'

export async function collect(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of content) chunks.push(chunk)
  return Buffer.concat(chunks)
}

export async function* pieces(bytes: Uint8Array, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

export const file = (name: string, text: string | Uint8Array = '', more: Partial<TarHeader> = {}): TarItem => {
  const bytes = Buffer.from(text as string)
  return { header: plainHeader(name, bytes.length, more), content: pieces(bytes) }
}
export const folder = (name: string, more: Partial<TarHeader> = {}): TarItem => ({
  header: plainHeader(name, 0, { type: 'directory', mode: 0o755, ...more }),
})
export const symlink = (name: string, linkname: string): TarItem => ({
  header: plainHeader(name, 0, { type: 'symlink', mode: 0o777, linkname }),
})
export const hardlink = (name: string, linkname: string): TarItem => ({ header: plainHeader(name, 0, { type: 'hardlink', linkname }) })

export const tarOf = (...items: TarItem[]) => collect(writeTar(items))

export type Packing = 'none' | 'gzip' | 'zstd'

/** A zstd frame (RFC 8878) of raw blocks: Node 20 has no compressor. */
export function zstdStored(bytes: Uint8Array): Buffer {
  // One window of 1 MiB, no checksum, no content size.
  const parts: Uint8Array[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50])]
  for (let at = 0; at === 0 || at < bytes.length; at += 2 ** 17) {
    const block = bytes.subarray(at, at + 2 ** 17)
    const header = Buffer.alloc(4)
    header.writeUInt32LE((block.length << 3) | (at + 2 ** 17 >= bytes.length ? 1 : 0))
    parts.push(header.subarray(0, 3), block)
  }
  return Buffer.concat(parts)
}

const PACK = { none: (bytes: Uint8Array) => bytes, gzip: (bytes: Uint8Array) => gzipSync(bytes), zstd: zstdStored }
const TYPES = { none: MEDIA_TYPES.layer, gzip: MEDIA_TYPES.layerGzip, zstd: MEDIA_TYPES.layerZstd }

export const described = (bytes: Uint8Array, mediaType: string): Descriptor => ({ mediaType, digest: digestOf(bytes), size: bytes.length })

export interface Made {
  blobs: Map<string, Uint8Array>
  manifest: Descriptor
}

/** The blobs of an image of these layers (uncompressed tars). */
export function makeImage(tars: readonly Uint8Array[], packing: Packing = 'none', config: Partial<ImageConfig> = {}): Made {
  const blobs = new Map<string, Uint8Array>()
  const put = (bytes: Uint8Array, mediaType: string) => {
    const descriptor = described(bytes, mediaType)
    blobs.set(descriptor.digest, bytes)
    return descriptor
  }
  const layers = tars.map((tar) => put(PACK[packing](tar), TYPES[packing]))
  const rootfs = { type: 'layers' as const, diff_ids: tars.map((tar) => digestOf(tar)) }
  const configBytes = Buffer.from(JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs, ...config }))
  const manifest = { schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, config: put(configBytes, MEDIA_TYPES.config), layers }
  return { blobs, manifest: put(Buffer.from(JSON.stringify(manifest)), MEDIA_TYPES.manifest) }
}

export function openMade({ blobs, manifest }: Made, chunk = 1000): Promise<ImageSource> {
  return openContent({
    origin: 'the test image',
    root: manifest,
    read: ({ digest }, { offset = 0 }) => pieces((blobs.get(digest) ?? Buffer.alloc(0)).subarray(offset), chunk),
  })
}

export const imageOf = async (...layers: TarItem[][]): Promise<ImageSource> =>
  openMade(makeImage(await Promise.all(layers.map((items) => tarOf(...items)))))

export async function temporary(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'vmkit-oci-test-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** What a folder holds, as text that can be compared. */
export function listing(path: string): string[] {
  return execFileSync('find', ['.', '-printf', '%p %y %m %U:%G %s %l\\n'], { cwd: path, encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/ d (\S+ \S+) \d+/, ' d $1'))
    .sort()
}
