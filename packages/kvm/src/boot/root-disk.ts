/** A folder as an ext4 disk, without root: mke2fs fills it, fakeroot tells it the owners where we cannot set them. */
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, statSync } from 'node:fs'
import { copyFile, link, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { invalidConfig, VMKitError } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { execa } from 'execa'
import { createDisk, inspectDisk } from '../disk/image-file.js'
import { flatten } from '../disk/qemu-img.js'
import { DRIVER, systemError } from '../errors.js'
import { FILES, type MachineFolder } from '../state/machine-folder.js'
import { fakerootState, type OwnerRecord } from './fakeroot.js'

/** Bytes of a machine's root when the config does not say. They cost nothing until they are used. */
export const DEFAULT_DISK_SIZE = 2 * 2 ** 30
const LEAST_DISK_SIZE = 16 * 2 ** 20
const MIB = 2 ** 20
/** From here on there is a journal in which the file system can grow: with 4 MiB the kernel refuses to. */
const ROOMY = 256 * MIB

/** The base in a machine's folder; what stands on it is `disk.qcow2`. */
const BASE = 'base.qcow2'

/** A number of its own for each try, so that two builds of one disk never meet. */
let tries = 0

export interface RootDiskOptions {
  size: number
  signal: AbortSignal
  /** Who owns what, for those who may not set it in the folder; else the folder's own. */
  owners?: readonly OwnerRecord[]
}

/**
 * A qcow2 with an ext4 of `size` bytes at `path`, appearing there as a whole.
 * @throws VMKitError `RESOURCE_EXHAUSTED` when the folder does not fit, `UNSUPPORTED` without mke2fs or fakeroot
 */
export async function makeRootDisk(folder: string, path: string, { size, signal, owners }: RootDiskOptions): Promise<void> {
  const temporary = `${path}.${process.pid}.${++tries}`
  const [raw, state] = [`${temporary}.raw`, `${temporary}.owners`]
  // No reserved blocks, and what a fresh file system may leave for later is left.
  const mke2fs = [
    '-q',
    '-F',
    '-t',
    'ext4',
    '-b',
    '4096',
    '-m',
    '0',
    '-J',
    `size=${size < ROOMY ? 4 : 16}`,
    '-E',
    'lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0',
  ]
  const command = ['mke2fs', ...mke2fs, '-d', folder, raw, `${Math.floor(size / MIB)}M`]
  try {
    if (owners) await fakerootState(folder, owners, state)
    const isRoot = process.getuid?.() === 0
    await run(isRoot && !owners ? command : ['fakeroot', ...(owners ? ['-i', state] : []), '--', ...command], signal)
    await flatten({ path: raw, format: 'raw' }, temporary, {}, signal)
    await rename(temporary, path)
  } catch (error) {
    signal.throwIfAborted()
    throw toolError(error, size)
  } finally {
    for (const left of [temporary, raw, state]) await rm(left, { force: true })
  }
}

async function run([program, ...args]: readonly string[], signal: AbortSignal): Promise<void> {
  await execa(program as string, args, {
    stdin: 'ignore',
    cancelSignal: signal,
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C' },
  })
}

function toolError(error: unknown, size: number): VMKitError {
  if (error instanceof VMKitError) return error
  const text = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : ''
  const missing = errno(error) === 'ENOENT' ? 'mke2fs or fakeroot' : /(mke2fs|fakeroot).*not found/.exec(text)?.[1]
  if (missing !== undefined) {
    return new VMKitError('UNSUPPORTED', `${missing} is missing, by which disks are made of images and folders`, {
      driver: DRIVER,
      hint: 'Install e2fsprogs and fakeroot',
      cause: error,
    })
  }
  if (/Could not allocate|No space|too small/i.test(text)) {
    return new VMKitError('RESOURCE_EXHAUSTED', `The root file system does not fit in ${size} bytes: ${text.split('\n').at(-1)}`, {
      driver: DRIVER,
      field: 'config.disk.size',
      hint: 'Set a larger disk.size',
      cause: error,
    })
  }
  return systemError(error, { operation: 'create' })
}

/**
 * Puts a disk of the cache under a machine: linked, so that neither needs the other to stay, and with an overlay of `size` bytes.
 * A disk that goes between the look and the link, because nobody had used it for long, is looked for once more.
 */
export async function useDisk<T extends { disk: string }>(
  find: () => Promise<T>,
  folder: MachineFolder,
  size: number | undefined,
): Promise<T> {
  const found = await find()
  try {
    await linkDisk(found.disk, folder, size)
    return found
  } catch (error) {
    if (await exists(found.disk)) throw error
    const again = await find()
    await linkDisk(again.disk, folder, size)
    return again
  }
}

async function linkDisk(cached: string, folder: MachineFolder, size: number | undefined): Promise<void> {
  const base = join(folder.path, BASE)
  await link(cached, base).catch(async (error: unknown) => {
    // Another file system, or one without links.
    if (!['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP'].includes(errno(error) ?? '')) throw systemError(error, { operation: 'create' })
    await copyFile(cached, base)
  })
  const { virtualSize } = await inspectDisk(base, 'config.image')
  await createDisk({
    path: join(folder.path, FILES.disk),
    base: { path: BASE, format: 'qcow2', virtualSize },
    ...(size === undefined ? {} : { size }),
  })
}

/** The size of the base under a disk of this size: the guest makes it larger, but not smaller. */
export function baseSize(size: number | undefined): number {
  if (size !== undefined && size < LEAST_DISK_SIZE) {
    throw invalidConfig('config.disk.size', `at least ${LEAST_DISK_SIZE} bytes, for a root file system`, size, { driver: DRIVER })
  }
  return Math.min(size ?? DEFAULT_DISK_SIZE, DEFAULT_DISK_SIZE)
}

/** What a tree is made of, as one digest: a change of any file shows in its inode's times. Its content is not read. */
export function fingerprint(folder: string, field: string): string {
  const hash = createHash('sha256')
  const walk = (path: string, name: string): void => {
    const { ino, size, mode, uid, gid, mtimeMs, ctimeMs, dev } = lstatSync(path)
    hash.update(`${JSON.stringify(name)} ${[dev, ino, size, mode, uid, gid, mtimeMs, ctimeMs].join(' ')}\n`)
    if ((mode & 0o170000) !== 0o040000) return
    for (const entry of readdirSync(path).sort()) walk(join(path, entry), `${name}/${entry}`)
  }
  try {
    if (!statSync(folder).isDirectory()) throw invalidConfig(field, 'a folder with a root file system', folder, { driver: DRIVER })
    walk(folder, '')
  } catch (error) {
    if (errno(error) === 'ENOENT') throw invalidConfig(field, 'a folder with a root file system', folder, { driver: DRIVER })
    throw systemError(error, { field })
  }
  return hash.digest('hex').slice(0, 32)
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
