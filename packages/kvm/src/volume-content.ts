/**
 * What is in a volume, as a tar that travels with its machine: files, folders and symbolic links with owners, modes and times. Guests write
 * to the folder meanwhile, so that nothing in it is followed: every step is taken from the folder that is open already
 * (`/proc/self/fd/N/name` stands in for openat(2), which Node lacks).
 */
import {
  chmodSync,
  closeSync,
  constants,
  createReadStream,
  createWriteStream,
  fstatSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  type Stats,
  symlinkSync,
  utimesSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { invalidConfig } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { recordsToTar, tarEntries } from './agent/tar-records.js'
import type { TreeRecord } from './agent/tree-records.js'
import { DRIVER } from './errors.js'

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants

export function packVolume(folder: string): AsyncGenerator<Uint8Array> {
  return recordsToTar(readTree(folder, ''), '.')
}

async function* readTree(path: string, name: string): AsyncGenerator<TreeRecord> {
  const fd = openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
  try {
    const open = `/proc/self/fd/${fd}`
    yield recordOf('d', name, fstatSync(fd))
    for (const child of readdirSync(open)) yield* unlessGone(readChild(`${open}/${child}`, name === '' ? child : `${name}/${child}`))
  } finally {
    closeSync(fd)
  }
}

async function* readChild(path: string, name: string): AsyncGenerator<TreeRecord> {
  const found = lstatSync(path)
  if (found.isDirectory()) yield* readTree(path, name)
  else if (found.isSymbolicLink()) yield { ...recordOf('l', name, found), target: readlinkSync(path) }
  else if (found.isFile()) {
    const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    try {
      const stats = fstatSync(fd)
      // A file that grows meanwhile is cut; one that shrinks breaks the tar, which its reader is told.
      const { size } = stats
      if (!stats.isFile()) return
      const content = size === 0 ? none() : createReadStream('', { fd, start: 0, end: size - 1, autoClose: false })
      yield { ...recordOf('f', name, stats), size, content }
    } finally {
      closeSync(fd)
    }
  }
}

/** What was removed, or became something else, since its folder was read. */
async function* unlessGone(records: AsyncGenerator<TreeRecord>): AsyncGenerator<TreeRecord> {
  try {
    yield* records
  } catch (error) {
    if (!['ENOENT', 'ELOOP', 'ENOTDIR'].includes(errno(error) ?? '')) throw error
  }
}

async function* none(): AsyncGenerator<Uint8Array> {}

function recordOf(kind: string, name: string, { mode, uid, gid, mtimeMs }: Stats): TreeRecord {
  return { kind, name, target: '', mode: mode & 0o7777, uid, gid, size: 0, modifiedAt: mtimeMs, content: none() }
}

/**
 * Fills a folder that nobody else writes to.
 * @throws VMKitError `INVALID_CONFIG` for a tar that leaves the folder, or is none
 */
export async function unpackVolume(folder: string, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  const folders: { path: string; entry: TreeRecord }[] = []
  for await (const entry of tarEntries(tar)) {
    const path = join(folder, entry.name)
    try {
      if (entry.name !== '') mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
      if (entry.kind === 'd') {
        mkdirSync(path, { recursive: true, mode: 0o755 })
        folders.push({ path, entry })
      } else await place(folder, path, entry, signal)
    } catch (error) {
      // Such as a file below what is a file: no system wrote that.
      if (!['EEXIST', 'ENOTDIR', 'EISDIR', 'ENOENT', 'ENAMETOOLONG', 'ERR_FS_EISDIR'].includes(errno(error) ?? '')) throw error
      throw invalidConfig('tar', 'entries that fit each other', entry.name, { driver: DRIVER })
    }
  }
  // Last, and the deepest first: what is put into a folder changes its time, and may be forbidden by its mode.
  for (const { path, entry } of folders.reverse()) {
    own(path, entry)
    chmodSync(path, entry.mode & 0o7777)
    utimesSync(path, entry.modifiedAt / 1000, entry.modifiedAt / 1000)
  }
}

async function place(folder: string, path: string, entry: TreeRecord, signal: AbortSignal): Promise<void> {
  const { kind, target, mode, content, modifiedAt } = entry
  if (kind !== 'h' || join(folder, target) !== path) rmSync(path, { force: true })
  if (kind === 'l') {
    symlinkSync(target, path)
    own(path, entry)
    lutimesSync(path, modifiedAt / 1000, modifiedAt / 1000)
  } else if (kind === 'h') {
    if (join(folder, target) !== path) linkSync(join(folder, target), path)
  } else {
    await pipeline(content, createWriteStream(path, { flags: 'wx', mode: 0o600 }), { signal })
    // The owner first: changing it clears setuid.
    own(path, entry)
    chmodSync(path, mode & 0o7777)
    utimesSync(path, modifiedAt / 1000, modifiedAt / 1000)
  }
}

/** Without root, all of it is ours. */
function own(path: string, { uid, gid }: TreeRecord): void {
  if (process.getuid?.() === 0) lchownSync(path, uid, gid)
}
