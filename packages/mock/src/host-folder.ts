import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { FileNode, FileStore } from './file-tree.js'

/** A folder of this host, mounted into a mock machine. Links are shown as links, so none leads out of it. */
export function hostFolder(source: string): FileStore {
  return {
    find(path): FileNode | undefined {
      const stat = lstatSync(join(source, path), { throwIfNoEntry: false })
      if (!stat) return undefined
      const common = { mode: stat.mode & 0o7777, modifiedAt: stat.mtimeMs }
      if (stat.isSymbolicLink()) return { type: 'symlink', ...common, target: readlinkSync(join(source, path)) }
      if (stat.isDirectory()) return { type: 'directory', ...common }
      return { type: 'file', ...common, content: stat.isFile() ? readFileSync(join(source, path)) : new Uint8Array() }
    },
    write(path, node) {
      const target = join(source, path)
      mkdirSync(node.type === 'directory' ? target : dirname(target), { recursive: true })
      if (node.type === 'file') writeFileSync(target, node.content ?? '', { mode: node.mode })
      if (node.type === 'symlink') symlinkSync(node.target ?? '', target)
    },
    names: (path) => readdirSync(join(source, path)),
    remove: (path) => rmSync(join(source, path), { recursive: true }),
  }
}
