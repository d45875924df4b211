import { posix } from 'node:path'
import { type FileEntry, invalidConfig, VMKitError } from '@vmkit/core/driver'

export interface FileNode {
  type: 'file' | 'directory' | 'symlink'
  mode: number
  modifiedAt: number
  content?: Uint8Array
  target?: string
}

/** The files of one machine: absolute paths to nodes. Folders on the way to a file exist by themselves. */
export class FileTree {
  readonly #nodes: Map<string, FileNode>

  constructor(nodes: ReadonlyMap<string, FileNode> = new Map()) {
    this.#nodes = new Map(nodes)
  }

  /** An independent copy, for snapshots. Contents are never changed in place, so they may be shared. */
  copy(): FileTree {
    return new FileTree(this.#nodes)
  }

  resolve(path: string, workdir: string): string {
    const absolute = posix.resolve('/', workdir, path)
    const link = this.#nodes.get(absolute)
    return link?.type === 'symlink' ? posix.resolve(posix.dirname(absolute), link.target ?? '/') : absolute
  }

  find(path: string): FileNode | undefined {
    if (path === '/') return { type: 'directory', mode: 0o755, modifiedAt: 0 }
    return this.#nodes.get(path) ?? (this.#hasChildren(path) ? { type: 'directory', mode: 0o755, modifiedAt: 0 } : undefined)
  }

  read(path: string): Uint8Array {
    const node = this.find(path)
    if (!node) throw missing(path)
    if (node.type !== 'file' || !node.content) throw invalidConfig('path', 'a file', path)
    return node.content
  }

  write(path: string, node: FileNode): void {
    if (path === '/' || (node.type === 'file' && this.find(path)?.type === 'directory'))
      throw invalidConfig('path', 'a file, not a folder', path)
    this.#nodes.set(path, node)
  }

  list(path: string): FileEntry[] {
    const folder = this.find(path)
    if (!folder) throw missing(path)
    if (folder.type !== 'directory') throw invalidConfig('path', 'a folder', path)
    const prefix = path === '/' ? '/' : `${path}/`
    const names = new Set(
      [...this.#nodes.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length).split('/')[0] as string),
    )
    return [...names].sort().map((name) => {
      const node = this.find(`${prefix}${name}`) as FileNode
      return { name, type: node.type, size: node.content?.length ?? 0, mode: node.mode, modifiedAt: node.modifiedAt }
    })
  }

  remove(path: string): void {
    if (!this.find(path)) throw missing(path)
    for (const [key] of this.below(path)) this.#nodes.delete(key)
  }

  /** A path and all that is under it. */
  below(path: string): [string, FileNode][] {
    return [...this.#nodes]
      .filter(([key]) => key === path || key.startsWith(path === '/' ? '/' : `${path}/`))
      .sort(([a], [b]) => (a < b ? -1 : 1))
  }

  /** What all contents take. */
  get bytes(): number {
    return [...this.#nodes.values()].reduce((sum, node) => sum + (node.content?.length ?? 0), 0)
  }

  #hasChildren(path: string): boolean {
    return [...this.#nodes.keys()].some((key) => key.startsWith(`${path}/`))
  }
}

function missing(path: string): VMKitError {
  return new VMKitError('NOT_FOUND', `There is no file ${JSON.stringify(path)} in the machine`, { field: 'path' })
}
