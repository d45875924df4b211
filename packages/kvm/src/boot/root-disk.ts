/** A folder as an ext4 disk, without root: mke2fs fills it, fakeroot tells it the owners where we cannot set them. */
import { createHash } from 'node:crypto'
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { lstatSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { invalidConfig, VMKitError } from '@vmkit/core/driver'
import { execa } from 'execa'
import { DRIVER, errno, systemError } from '../errors.js'
import { fakerootState, type OwnerRecord } from './fakeroot.js'

/** Space that a machine's root has beyond what is in it, when the config does not say. It costs nothing until it is used. */
export const DEFAULT_DISK_SIZE = 2 * 2 ** 30
const LEAST_DISK_SIZE = 16 * 2 ** 20
const MIB = 2 ** 20

/** A number of its own for each try, so that two builds of one disk never meet. */
let tries = 0

/**
 * An ext4 image of `size` bytes at `path`, appearing there as a whole.
 * @param owners who owns what, for those who may not set it in the folder; the folder's own otherwise
 * @throws VMKitError `RESOURCE_EXHAUSTED` when the folder does not fit, `UNSUPPORTED` without mke2fs or fakeroot
 */
export async function makeExt4(folder: string, path: string, size: number, signal: AbortSignal, owners?: readonly OwnerRecord[]): Promise<void> {
  if (size < LEAST_DISK_SIZE) throw invalidConfig('config.disk.size', `at least ${LEAST_DISK_SIZE} bytes, for a root file system`, size, { driver: DRIVER })
  const temporary = `${path}.${process.pid}.${++tries}`
  const state = `${temporary}.owners`
  // No reserved blocks, and what a fresh file system may leave for later is left.
  const mke2fs = ['-q', '-F', '-t', 'ext4', '-m', '0', '-J', 'size=4', '-E', 'lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0']
  const command = ['mke2fs', ...mke2fs, '-d', folder, temporary, `${Math.floor(size / MIB)}M`]
  const isRoot = process.getuid?.() === 0
  try {
    if (owners) await fakerootState(folder, owners, state)
    const [program, ...args] = isRoot && !owners ? command : ['fakeroot', ...(owners ? ['-i', state] : []), '--', ...command]
    await execa(program as string, args, { stdin: 'ignore', cancelSignal: signal, env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` } })
    await rename(temporary, path)
  } catch (error) {
    signal.throwIfAborted()
    throw toolError(error, size)
  } finally {
    await rm(temporary, { force: true })
    await rm(state, { force: true })
  }
}

function toolError(error: unknown, size: number): VMKitError {
  if (error instanceof VMKitError) return error
  const text = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : ''
  const missing = errno(error) === 'ENOENT' ? 'mke2fs or fakeroot' : /fakeroot.*not found|mke2fs.*not found/.exec(text)?.[0]
  if (missing !== undefined) {
    return new VMKitError('UNSUPPORTED', `${missing} is missing, by which disks are made of images and folders`, {
      driver: DRIVER,
      hint: 'Install e2fsprogs and fakeroot',
      cause: error,
    })
  }
  if (/Could not allocate|No space|not enough space|too small/i.test(text)) {
    return new VMKitError('RESOURCE_EXHAUSTED', `The root file system does not fit in ${size} bytes: ${text.split('\n').at(-1)}`, {
      driver: DRIVER,
      field: 'config.disk.size',
      hint: 'Set a larger disk.size',
      cause: error,
    })
  }
  return systemError(error, { operation: 'create' })
}

/** Makes `cacheDir/disks/KEY.ext4` unless it is there; `fill` gives the folder to make it of. */
export async function cachedDisk(cacheDir: string, key: string, make: (path: string) => Promise<void>): Promise<string> {
  const folder = join(cacheDir, 'disks')
  const path = join(folder, `${key}.ext4`)
  if (await exists(path)) return path
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await make(path)
  return path
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
