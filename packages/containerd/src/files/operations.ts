/** What is done with files below a root folder of this host. Blocking calls are short ones; contents are streamed. */
import { randomBytes } from 'node:crypto'
import { constants, readdirSync, renameSync, rmdirSync, type Stats, unlinkSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { type FileEntry, invalidConfig, VMKitError } from '@vmkit/core/driver'
import { fileError } from './errors.js'
import { type Folder, openChildFolder, type Place, statChild, type WalkOptions, walk } from './root.js'

const CHUNK = 64 * 1024
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** Opens the place, and closes it afterwards. Errors name the machine's path. */
export async function at<T>(root: string, path: string, options: WalkOptions, use: (place: Place) => T | Promise<T>): Promise<T> {
  let place: Place | undefined
  try {
    place = walk(root, path, options)
    return await use(place)
  } catch (error) {
    throw fileError(error, path)
  } finally {
    place?.folder.close()
  }
}

export async function* readFileIn(root: string, path: string): AsyncGenerator<Uint8Array> {
  // Not blocking: a FIFO of the machine must not hang the reader.
  const handle = await at(root, path, { followLast: true }, async ({ folder, name }) => {
    if (name === '') throw notAFile(path)
    return open(`${folder.path}/${name}`, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  })
  try {
    if (!(await handle.stat()).isFile()) throw notAFile(path)
    for (;;) {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, null)
      if (bytesRead === 0) return
      yield buffer.subarray(0, bytesRead)
    }
  } catch (error) {
    throw fileError(error, path)
  } finally {
    await handle.close()
  }
}

function notAFile(path: string): VMKitError {
  return new VMKitError('GUEST_ERROR', `${path} is not a regular file`, { hint: 'Use files.list or copyOut for folders' })
}

export interface Owner {
  uid: number
  gid: number
}

/** The new content takes the name only when it is whole. Missing folders are made. */
export async function writeFileIn(
  root: string,
  path: string,
  content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  mode: number,
  signal: AbortSignal,
  owner?: Owner,
): Promise<void> {
  await at(root, path, { followLast: true, makeParents: true }, async ({ folder, name }) => {
    if (name === '') throw invalidConfig('path', 'the path of a file', path)
    const present = statChild(folder, name)
    if (present?.isDirectory()) throw notAFile(path)
    const temporary = `${folder.path}/.vmkit-${randomBytes(8).toString('hex')}`
    const handle = await open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    try {
      try {
        for await (const chunk of content) {
          signal.throwIfAborted()
          await writeAll(handle, chunk)
        }
        if (owner ?? present) await handle.chown((owner ?? present)?.uid ?? 0, (owner ?? present)?.gid ?? 0)
        await handle.chmod(mode)
      } finally {
        await handle.close()
      }
      // A file that is a mount point of its own, such as /etc/hosts, cannot be replaced: it is written in place.
      if (!replace(temporary, `${folder.path}/${name}`)) await copyInto(temporary, `${folder.path}/${name}`, mode)
    } catch (error) {
      unlinkSync(temporary)
      throw error
    }
  })
}

async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.length; ) offset += (await handle.write(chunk, offset)).bytesWritten
}

function replace(from: string, to: string): boolean {
  try {
    renameSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error
    return false
  }
}

async function copyInto(from: string, to: string, mode: number): Promise<void> {
  const source = await open(from, O_RDONLY)
  const target = await open(to, O_WRONLY | O_NOFOLLOW | constants.O_TRUNC)
  try {
    for await (const chunk of source.createReadStream({ autoClose: false })) await writeAll(target, chunk as Uint8Array)
    await target.chmod(mode)
    unlinkSync(from)
  } finally {
    await Promise.all([source.close(), target.close()])
  }
}

export async function listIn(root: string, path: string): Promise<FileEntry[]> {
  return at(root, path, { followLast: true }, ({ folder, name }) => {
    const target = name === '' ? undefined : openableFolder(folder, name, path)
    try {
      const here = target ?? folder
      return target === undefined && name !== '' ? [] : entriesOf(here)
    } finally {
      target?.close()
    }
  })
}

function openableFolder(folder: Folder, name: string, path: string): Folder {
  const stat = statChild(folder, name)
  if (stat && !stat.isDirectory()) throw new VMKitError('GUEST_ERROR', `${path} is not a folder`)
  return openChildFolder(folder, name)
}

function entriesOf(folder: Folder): FileEntry[] {
  return readdirSync(folder.path).flatMap((name) => {
    const stat = statChild(folder, name)
    return stat ? [entryOf(name, stat)] : []
  })
}

function entryOf(name: string, stat: Stats): FileEntry {
  return { name, type: kindOf(stat), size: stat.size, mode: stat.mode & 0o7777, modifiedAt: Math.round(stat.mtimeMs) }
}

function kindOf(stat: Stats): FileEntry['type'] {
  if (stat.isFile()) return 'file'
  if (stat.isDirectory()) return 'directory'
  return stat.isSymbolicLink() ? 'symlink' : 'other'
}

export async function removeIn(root: string, path: string): Promise<void> {
  await at(root, path, { followLast: false }, ({ folder, name }) => {
    if (name === '' || name === '..') throw invalidConfig('path', 'a path below the root', path)
    const stat = statChild(folder, name)
    if (!stat) throw new VMKitError('NOT_FOUND', `There is no ${path} in the machine`)
    removeChild(folder, name, stat)
  })
}

function removeChild(parent: Folder, name: string, stat: Stats): void {
  if (!stat.isDirectory()) {
    unlinkSync(`${parent.path}/${name}`)
    return
  }
  const folder = openChildFolder(parent, name)
  try {
    for (const child of readdirSync(folder.path)) {
      const found = statChild(folder, child)
      if (found) removeChild(folder, child, found)
    }
  } finally {
    folder.close()
  }
  rmdirSync(`${parent.path}/${name}`)
}
