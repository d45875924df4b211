/** Trees of a machine as tar streams, through the same guarded paths as single files. */
import {
  chmodSync,
  constants,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  type Stats,
  statSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { invalidConfig, VMKitError } from '@vmkit/core/driver'
import type { Header, Pack } from 'tar-stream'
import { fileError } from './errors.js'
import { at, writeFileIn } from './operations.js'
import { type Folder, openChildFolder, statChild, walk } from './root.js'

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants
const loadTar = () => import('tar-stream')

type EntryHeader = Partial<Header> & { name: string }

/**
 * `path` and what is below it. Devices and sockets are left out: a tar of them is no content. `self`: an entry for the root too, whose
 * owner and mode travel then.
 */
export async function* packIn(root: string, path: string, { self = false } = {}): AsyncGenerator<Uint8Array> {
  const { pack: newPack } = await loadTar()
  const pack = newPack()
  const filling = at(root, path, { followLast: true }, async ({ folder, name, resolved }) => {
    const base = posix.basename(resolved) || '.'
    if (name === '') {
      if (self) {
        const { mode, uid, gid, mtime } = statSync(folder.path)
        await entry(pack, { name: './', type: 'directory', mode: mode & 0o7777, uid, gid, mtime })
      }
      for (const child of readdirSync(folder.path)) await packChild(pack, folder, child, `./${child}`)
      return
    }
    if (!statChild(folder, name)) throw new VMKitError('NOT_FOUND', `There is no ${path} in the machine`)
    await packChild(pack, folder, name, base)
  }).then(
    () => pack.finalize(),
    (error: Error) => pack.destroy(error),
  )
  try {
    yield* pack as AsyncIterable<Uint8Array>
  } finally {
    pack.destroy()
    await filling
  }
}

async function packChild(pack: Pack, parent: Folder, name: string, as: string): Promise<void> {
  const stat = statChild(parent, name)
  if (!stat) return
  const header = { name: as, mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid, mtime: stat.mtime }
  if (stat.isSymbolicLink()) return entry(pack, { ...header, type: 'symlink', linkname: readlinkSync(`${parent.path}/${name}`) })
  if (stat.isFile()) return packFile(pack, `${parent.path}/${name}`, header)
  if (!stat.isDirectory()) return
  await entry(pack, { ...header, name: `${as}/`, type: 'directory' })
  const folder = openChildFolder(parent, name)
  try {
    for (const child of readdirSync(folder.path)) await packChild(pack, folder, child, `${as}/${child}`)
  } finally {
    folder.close()
  }
}

function entry(pack: Pack, header: EntryHeader): Promise<void> {
  return new Promise((resolve, reject) => {
    pack.entry(header, (error) => (error ? reject(error) : resolve()))
  })
}

async function packFile(pack: Pack, path: string, header: EntryHeader): Promise<void> {
  const handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const { size } = await handle.stat()
    // A file that grows meanwhile is cut, one that shrinks breaks the tar, which the reader is told.
    const source = size === 0 ? Readable.from([]) : handle.createReadStream({ autoClose: false, end: size - 1 })
    await pipeline(source, pack.entry({ ...header, type: 'file', size }))
  } finally {
    await handle.close()
  }
}

/** Unpacks below `path`; every entry is placed by its own guarded walk, so that no link of the tar leads out. */
export async function unpackIn(root: string, path: string, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  const { extract } = await loadTar()
  const parser = extract()
  const feeding = pipeline(Readable.from(tar, { objectMode: false }), parser, { signal })
  feeding.catch(() => {})
  try {
    makeFolder(root, path, undefined)
    for await (const item of parser) {
      const { name, type, linkname } = item.header
      if (leaves(name) || (type === 'link' && leaves(linkname ?? '')))
        throw invalidConfig('tar', 'entries that stay below the target path', name)
      await place(root, path, item.header, item as AsyncIterable<Uint8Array>, signal)
      ;(item as unknown as Readable).resume()
    }
    await feeding
  } catch (error) {
    const late = await feeding.then(
      () => error,
      (cause: unknown) => (error instanceof VMKitError ? error : cause),
    )
    if (late instanceof VMKitError || signal.aborted || (late as NodeJS.ErrnoException).code?.startsWith('E')) throw fileError(late, path)
    throw new VMKitError('INVALID_CONFIG', `The tar cannot be read: ${(late as Error).message}`, { field: 'tar', cause: late })
  } finally {
    parser.destroy()
  }
}

function leaves(name: string): boolean {
  const path = posix.normalize(name)
  return path.startsWith('/') || path === '..' || path.startsWith('../')
}

async function place(
  root: string,
  base: string,
  header: EntryHeader,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const target = posix.join('/', base, header.name)
  const owner = { uid: header.uid ?? 0, gid: header.gid ?? 0 }
  const mode = (header.mode ?? 0o644) & 0o7777
  switch (header.type) {
    case 'directory':
      return makeFolder(root, target, { ...owner, mode })
    case 'symlink':
      return at(root, target, { followLast: false, makeParents: true }, ({ folder, name }) => {
        clear(folder, name)
        symlinkSync(header.linkname ?? '', `${folder.path}/${name}`)
        lchownSync(`${folder.path}/${name}`, owner.uid, owner.gid)
      })
    case 'link':
      return hardLink(root, posix.join('/', base, header.linkname ?? ''), target)
    case 'file':
    case 'contiguous-file':
      // What stands there under the name, a link above all, is no place to write through.
      await at(root, target, { followLast: false, makeParents: true }, ({ folder, name }) => clearLink(folder, name))
      await writeFileIn(root, target, content, mode, signal, owner)
      return at(root, target, { followLast: false }, ({ folder, name }) => {
        if (header.mtime) lutimesSync(`${folder.path}/${name}`, header.mtime, header.mtime)
      })
    default:
      throw invalidConfig('tar', 'files, folders and links', `${header.name} (${header.type})`)
  }
}

interface Bits {
  uid: number
  gid: number
  mode: number
}

function setBits({ path }: Folder, bits: Bits | undefined): void {
  if (!bits) return
  lchownSync(`${path}/.`, bits.uid, bits.gid)
  chmodSync(`${path}/.`, bits.mode)
}

function makeFolder(root: string, path: string, bits: Bits | undefined): void {
  const { folder, name } = walk(root, path, { followLast: true, makeParents: true })
  try {
    if (name === '..') return
    if (name === '') {
      setBits(folder, bits)
      return
    }
    const stat = statChild(folder, name)
    if (stat && !stat.isDirectory()) throw new VMKitError('GUEST_ERROR', `${path} is there already and is not a folder`)
    if (!stat) mkdirSync(`${folder.path}/${name}`, { mode: 0o755 })
    if (!bits) return
    const made = openChildFolder(folder, name)
    try {
      setBits(made, bits)
    } finally {
      made.close()
    }
  } finally {
    folder.close()
  }
}

async function hardLink(root: string, from: string, to: string): Promise<void> {
  await at(root, from, { followLast: false }, (source) =>
    at(root, to, { followLast: false, makeParents: true }, (target) => {
      clear(target.folder, target.name)
      linkSync(`${source.folder.path}/${source.name}`, `${target.folder.path}/${target.name}`)
    }),
  )
}

function clear(folder: Folder, name: string): void {
  const stat = statChild(folder, name)
  if (stat?.isDirectory()) rmdirSync(`${folder.path}/${name}`)
  else if (stat) unlinkSync(`${folder.path}/${name}`)
}

function clearLink(folder: Folder, name: string): void {
  const stat: Stats | undefined = statChild(folder, name)
  if (stat?.isSymbolicLink()) unlinkSync(`${folder.path}/${name}`)
}
