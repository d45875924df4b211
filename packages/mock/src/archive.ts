import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { invalidConfig, VMKitError } from '@vmkit/core/driver'
import type { FileNode, FileTree } from './file-tree.js'

export interface TarEntry {
  name: string
  node: FileNode
}

/** A path and all below it as an uncompressed tar; names are relative to the path's folder. */
export function packTree(files: FileTree, path: string): AsyncGenerator<Uint8Array> {
  const base = path === '/' ? '/' : posix.dirname(path)
  return packEntries([...files.below(path)].map(([key, node]) => ({ name: posix.relative(base, key) || '.', node })))
}

/** @throws VMKitError `INVALID_CONFIG` for an entry outside `path`; nothing is written then */
export async function unpackTree(files: FileTree, path: string, archive: AsyncIterable<Uint8Array>): Promise<void> {
  const found: [string, FileNode][] = []
  for (const { name, node } of await readTar(archive, 'tar')) {
    const target = posix.resolve(path, name)
    if (name.startsWith('/') || (target !== path && !target.startsWith(path === '/' ? '/' : `${path}/`))) {
      throw invalidConfig('tar', `entries below ${path}`, name)
    }
    found.push([target, node])
  }
  for (const [target, node] of found) if (target !== '/') files.write(target, node)
}

export async function* packEntries(entries: TarEntry[]): AsyncGenerator<Uint8Array> {
  const { pack } = await import('tar-stream')
  const tar = pack()
  for (const { name, node } of entries) {
    const header = { name, mode: node.mode, mtime: new Date(node.modifiedAt) }
    if (node.type === 'symlink') tar.entry({ ...header, type: 'symlink', linkname: node.target ?? '' })
    else if (node.type === 'directory') tar.entry({ ...header, type: 'directory' })
    else tar.entry(header, Buffer.from(node.content ?? []))
  }
  tar.finalize()
  for await (const chunk of tar) yield chunk as Uint8Array
}

/** @throws VMKitError `INVALID_CONFIG` naming `field` when it is no tar, or not a whole one */
export async function readTar(archive: AsyncIterable<Uint8Array>, field: string): Promise<TarEntry[]> {
  const entries: TarEntry[] = []
  try {
    for await (const entry of entriesOf(archive)) entries.push(entry)
  } catch (cause) {
    throw new VMKitError('INVALID_CONFIG', `\`${field}\`: expected a whole tar, got something else`, { field, cause })
  }
  return entries
}

async function* entriesOf(archive: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const { extract } = await import('tar-stream')
  const tar = extract()
  Readable.from(archive)
    .on('error', (error) => tar.destroy(error))
    .pipe(tar)
  for await (const entry of tar) {
    const { name, type, mode = 0o644, mtime, linkname } = entry.header
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    const common = { mode, modifiedAt: mtime?.getTime() ?? 0 }
    if (type === 'directory') yield { name, node: { type: 'directory', ...common } }
    else if (type === 'symlink') yield { name, node: { type: 'symlink', ...common, target: linkname ?? '' } }
    else yield { name, node: { type: 'file', ...common, content: Buffer.concat(chunks) } }
  }
}
