/**
 * Guest kernels in the cache, a folder for each version. A machine has a link of its own to the kernel that it boots, so that the cache's
 * may go; where there can be no link, the machine boots from the cache, and that version stays for good.
 */
import { link, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errno } from '@vmkit/core/state-folder'
import type { ResolvedOptions } from '../options.js'
import { FILES, type MachineFolder } from '../state/machine-folder.js'

const DAY_MS = 24 * 60 * 60 * 1000
const VERSION = /^(cloud|general)-[0-9a-f]{16}$/
/** Of a build or a removal that somebody ended in the middle. */
const HALF = /^\.(work|gone)\./
const KEEP = 'keep'

export const guestsFolder = (cacheDir: string): string => join(cacheDir, 'guest')

/** Whether the version is there. To ask is to use it. */
export async function isGuestThere(folder: string): Promise<boolean> {
  const now = new Date()
  try {
    await utimes(folder, now, now)
    return true
  } catch (error) {
    // EPERM: it is another user's, who shares the cache.
    return errno(error) === 'EPERM'
  }
}

/** @returns the kernel's path for the machine's record. @throws `ENOENT` when the version went since it was found */
export async function ownKernel(kernel: string, folder: MachineFolder): Promise<string> {
  try {
    await link(kernel, folder.kernel)
    return FILES.kernel
  } catch (error) {
    // Another file system, or one without links: a copy would cost 66 MB.
    if (!['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP'].includes(errno(error) ?? '')) throw error
    await keepKernel(kernel)
    return kernel
  }
}

/** A kernel of the cache from which somebody boots as it is stays. Any other path is none of ours. */
export async function keepKernel(kernel: string): Promise<void> {
  const folder = dirname(kernel)
  if (!VERSION.test(basename(folder)) || basename(dirname(folder)) !== 'guest') return
  await writeFile(join(folder, KEEP), '').catch((error: unknown) => {
    // Another user's, whose machines are not ours to break; nor can we.
    if (errno(error) !== 'EACCES' && errno(error) !== 'EPERM' && errno(error) !== 'EROFS') throw error
  })
}

/** Removes versions that no create used for `cacheKeepDays`. */
export async function pruneGuests({ cacheDir, cacheKeepDays }: Pick<ResolvedOptions, 'cacheDir' | 'cacheKeepDays'>): Promise<void> {
  const parent = guestsFolder(cacheDir)
  for (const name of await readdir(parent)) {
    const path = join(parent, name)
    const days = HALF.test(name) ? 1 : VERSION.test(name) ? cacheKeepDays : undefined
    if (days === undefined || !(await isOlder(path, days)) || (await isKept(path))) continue
    // At once: half a version would pass for a whole one.
    const gone = HALF.test(name) ? path : join(parent, `.gone.${name}.${process.pid}`)
    if (gone !== path) await rename(path, gone)
    await rm(gone, { recursive: true, force: true })
  }
}

const isOlder = (path: string, days: number): Promise<boolean> =>
  stat(path).then(
    ({ mtimeMs }) => mtimeMs < Date.now() - days * DAY_MS,
    () => false,
  )

const isKept = (path: string): Promise<boolean> =>
  stat(join(path, KEEP)).then(
    () => true,
    (error: unknown) => errno(error) !== 'ENOENT',
  )
