import { posix } from 'node:path'
import { type FileEntry, invalidConfig, VMKitError } from '@vmkit/core/driver'

export interface FileNode {
  type: 'file' | 'directory' | 'symlink'
  mode: number
  modifiedAt: number
  content?: Uint8Array
  target?: string
}

/** A place where files are: paths are absolute and normal. */
export interface FileStore {
  find(path: string): FileNode | undefined
  write(path: string, node: FileNode): void
  /** The names in a folder. */
  names(path: string): string[]
  remove(path: string): void
}

/** Files in memory. Folders on the way to a file exist by themselves. */
export class MemoryFiles implements FileStore {
  readonly #nodes: Map<string, FileNode>

  constructor(nodes: ReadonlyMap<string, FileNode> = new Map()) {
    this.#nodes = new Map(nodes)
  }

  /** An independent copy, for snapshots. Contents are never changed in place, so they may be shared. */
  copy(): MemoryFiles {
    return new MemoryFiles(this.#nodes)
  }

  find(path: string): FileNode | undefined {
    const known = this.#nodes.get(path)
    if (known) return known
    return path === '/' || this.names(path).length > 0 ? { type: 'directory', mode: 0o755, modifiedAt: 0 } : undefined
  }

  write(path: string, node: FileNode): void {
    this.#nodes.set(path, node)
  }

  names(path: string): string[] {
    const prefix = path === '/' ? '/' : `${path}/`
    const below = [...this.#nodes.keys()].filter((key) => key.startsWith(prefix) && key !== prefix)
    return [...new Set(below.map((key) => key.slice(prefix.length).split('/')[0] as string))]
  }

  remove(path: string): void {
    for (const key of this.#nodes.keys()) if (key === path || key.startsWith(path === '/' ? '/' : `${path}/`)) this.#nodes.delete(key)
  }

  /** What all contents take. */
  get bytes(): number {
    return [...this.#nodes.values()].reduce((sum, node) => sum + (node.content?.length ?? 0), 0)
  }
}

export interface MountPoint {
  target: string
  store: FileStore
  readOnly: boolean
}

/** The files of one machine as its programs see them: its own disk, and what is mounted into it. */
export class FileTree {
  readonly #disk: FileStore
  readonly #mounts: readonly MountPoint[]

  constructor(disk: FileStore, mounts: readonly MountPoint[] = []) {
    this.#disk = disk
    // The longest target first: it is the innermost.
    this.#mounts = [...mounts].sort((a, b) => b.target.length - a.target.length)
  }

  /** A path as the machine means it, made absolute; a link at its end is followed. */
  resolve(path: string, workdir: string): string {
    const absolute = posix.resolve('/', workdir, path)
    const link = this.find(absolute)
    return link?.type === 'symlink' ? posix.resolve(posix.dirname(absolute), link.target ?? '/') : absolute
  }

  find(path: string): FileNode | undefined {
    const place = this.#locate(path)
    return place.store.find(place.path)
  }

  /** @throws VMKitError `NOT_FOUND` */
  read(path: string): Uint8Array {
    const node = this.#existing(path)
    if (node.type !== 'file' || !node.content) throw invalidConfig('path', 'a file', path)
    return node.content
  }

  /** @throws VMKitError `PERMISSION_DENIED` below a read-only mount */
  write(path: string, node: FileNode): void {
    const place = this.#writable(path)
    if (path === '/' || (node.type === 'file' && this.find(path)?.type === 'directory'))
      throw invalidConfig('path', 'a file, not a folder', path)
    place.store.write(place.path, node)
  }

  list(path: string): FileEntry[] {
    if (this.#existing(path).type !== 'directory') throw invalidConfig('path', 'a folder', path)
    return this.#names(path).map((name) => {
      const { type, content, mode, modifiedAt } = this.find(posix.join(path, name)) as FileNode
      return { name, type, size: content?.length ?? 0, mode, modifiedAt }
    })
  }

  remove(path: string): void {
    this.#existing(path)
    const place = this.#writable(path)
    place.store.remove(place.path)
  }

  /** A path and all that is under it, parents first. */
  *below(path: string): Generator<[string, FileNode]> {
    const node = this.#existing(path)
    yield [path, node]
    if (node.type === 'directory') for (const name of this.#names(path)) yield* this.below(posix.join(path, name))
  }

  #names(path: string): string[] {
    const place = this.#locate(path)
    const mounted = this.#mounts.filter(({ target }) => posix.dirname(target) === path).map(({ target }) => posix.basename(target))
    return [...new Set([...place.store.names(place.path), ...mounted])].sort()
  }

  #existing(path: string): FileNode {
    const node = this.find(path)
    if (node) return node
    throw new VMKitError('NOT_FOUND', `There is no file ${JSON.stringify(path)} in the machine`, { field: 'path' })
  }

  #writable(path: string): { store: FileStore; path: string } {
    const place = this.#locate(path)
    if (place.readOnly) throw new VMKitError('PERMISSION_DENIED', `${JSON.stringify(path)} is on a read-only mount`, { field: 'path' })
    return place
  }

  #locate(path: string): { store: FileStore; path: string; readOnly: boolean } {
    const mount = this.#mounts.find(({ target }) => path === target || path.startsWith(`${target}/`))
    if (!mount) return { store: this.#disk, path, readOnly: false }
    return { store: mount.store, path: path.slice(mount.target.length) || '/', readOnly: mount.readOnly }
  }
}
