/**
 * The unpacked files on this host. Short calls are synchronous: through libuv's threads each would take ten times as long,
 * and an image has tens of thousands of them; the chunks of files are written asynchronously.
 */
import {
  chmodSync,
  closeSync,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  write,
} from 'node:fs'
import { promisify } from 'node:util'
import { type Attributes, type Node, walk } from './tree.js'
import { applyXattrs, type Skipped } from './xattrs.js'

type Path = readonly string[]

export interface Disk {
  makeFolder(path: Path, attributes: Attributes): void
  setFolder(path: Path, attributes: Attributes): void
  /** Anything but a folder or a hard link. */
  make(path: Path, attributes: Attributes, content: AsyncIterable<Uint8Array>): Promise<void>
  link(from: Path, to: Path, attributes: Attributes): void
  /** A folder must be empty. */
  remove(path: Path, attributes: Attributes): void
  /** What can only be set when everything is there. */
  finish(root: Node): Promise<Skipped[]>
}

export function disk(folder: string, ownership: 'apply' | 'record'): Disk {
  const isRoot = ownership === 'apply'
  const full = (path: Path) => [folder, ...path].join('/')
  const isHere = ({ type }: Attributes) => isRoot || !['character-device', 'block-device', 'fifo'].includes(type)
  // Without root, the owner must be able to go on working in it, and to read it later.
  const folderMode = (mode: number) => (isRoot ? mode : mode | 0o700)

  const setFolder = (path: Path, { mode, uid, gid }: Attributes): void => {
    if (isRoot) lchownSync(full(path), uid, gid)
    chmodSync(full(path), folderMode(mode))
  }

  return {
    makeFolder(path, attributes) {
      mkdirSync(full(path), { mode: 0o700 })
      setFolder(path, attributes)
    },
    setFolder,
    async make(path, attributes, content) {
      if (!isHere(attributes)) return
      const { type, uid, gid, mode } = attributes
      if (type === 'file') return writeFile(full(path), attributes, content, isRoot)
      if (type === 'symlink') {
        symlinkSync(attributes.linkname ?? '', full(path))
        if (isRoot) lchownSync(full(path), uid, gid)
        return lutimesSync(full(path), ...times(attributes))
      }
      await makeNode(full(path), attributes)
      lchownSync(full(path), uid, gid)
      chmodSync(full(path), mode)
      utimesSync(full(path), ...times(attributes))
    },
    link(from, to, attributes) {
      if (isHere(attributes)) linkSync(full(from), full(to))
    },
    remove(path, attributes) {
      if (attributes.type === 'directory') rmdirSync(full(path))
      else if (isHere(attributes)) unlinkSync(full(path))
    },
    async finish(root) {
      const skipped = isRoot ? await applyXattrs(folder, walk(root)) : []
      for (const { parts, node } of walk(root)) {
        if (node.attributes.type === 'directory') utimesSync(full(parts), ...times(node.attributes))
      }
      return skipped
    },
  }
}

const writeChunk = promisify(write)

async function writeFile(path: string, attributes: Attributes, content: AsyncIterable<Uint8Array>, isRoot: boolean): Promise<void> {
  // Fails when anything is there already, also a link.
  const file = openSync(path, 'wx', 0o600)
  try {
    for await (const chunk of content) {
      for (let at = 0; at < chunk.length; ) at += (await writeChunk(file, chunk, at)).bytesWritten
    }
    // The owner first: changing it clears setuid.
    if (isRoot) fchownSync(file, attributes.uid, attributes.gid)
    fchmodSync(file, isRoot ? attributes.mode : attributes.mode | 0o400)
    futimesSync(file, ...times(attributes))
  } finally {
    closeSync(file)
  }
}

/** Seconds for atime and mtime, within what file systems store (ext4: 34 bits). */
function times({ mtimeMs }: Attributes): [number, number] {
  const seconds = Math.min(Math.max(mtimeMs / 1000, -(2 ** 31)), 2 ** 33)
  return [seconds, seconds]
}

/** Node has no mknod; coreutils has. */
async function makeNode(path: string, { type, device }: Attributes): Promise<void> {
  const kind = type === 'fifo' ? ['p'] : [type === 'block-device' ? 'b' : 'c', String(device?.major ?? 0), String(device?.minor ?? 0)]
  const { execFile } = await import('node:child_process')
  await promisify(execFile)('mknod', ['--', path, ...kind])
}
