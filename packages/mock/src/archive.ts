import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { invalidConfig } from '@vmkit/core/driver'
import type { FileNode, FileTree } from './file-tree.js'

/** A path and all below it as an uncompressed tar; names are relative to the path's folder. */
export async function* packTree(files: FileTree, path: string): AsyncGenerator<Uint8Array> {
  const { pack } = await import('tar-stream')
  if (!files.find(path)) files.read(path)
  const tar = pack()
  const base = path === '/' ? '/' : posix.dirname(path)
  for (const [key, node] of files.below(path)) {
    const name = posix.relative(base, key)
    const header = { name, mode: node.mode, mtime: new Date(node.modifiedAt) }
    if (node.type === 'symlink') tar.entry({ ...header, type: 'symlink', linkname: node.target ?? '' })
    else if (node.type === 'directory') tar.entry({ ...header, type: 'directory' })
    else tar.entry(header, Buffer.from(node.content ?? []))
  }
  tar.finalize()
  for await (const chunk of tar) yield chunk as Uint8Array
}

/** @throws VMKitError `INVALID_CONFIG` for an entry outside `path`; nothing is written then */
export async function unpackTree(files: FileTree, path: string, archive: AsyncIterable<Uint8Array>, now: number): Promise<void> {
  const { extract } = await import('tar-stream')
  const found: [string, FileNode][] = []
  const tar = extract()
  const feeding = Readable.from(archive).on('error', (error) => tar.destroy(error))
  feeding.pipe(tar)
  for await (const entry of tar) {
    const { name, type, mode = 0o644, mtime, linkname } = entry.header
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    const target = posix.resolve(path, name)
    if (name.startsWith('/') || (target !== path && !target.startsWith(path === '/' ? '/' : `${path}/`))) {
      throw invalidConfig('tar', `entries below ${path}`, name)
    }
    const modifiedAt = mtime?.getTime() ?? now
    if (type === 'directory') found.push([target, { type: 'directory', mode, modifiedAt }])
    else if (type === 'symlink') found.push([target, { type: 'symlink', mode, modifiedAt, target: linkname ?? '' }])
    else found.push([target, { type: 'file', mode, modifiedAt, content: Buffer.concat(chunks) }])
  }
  for (const [target, node] of found) if (target !== '/') files.write(target, node)
}
