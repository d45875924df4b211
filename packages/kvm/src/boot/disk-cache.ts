/**
 * Disks in the cache, each made once of a folder or an image. A machine has a link or a copy of its own, so that each may go at any
 * time; what nobody has used for long goes when another is made.
 */
import { mkdir, readdir, readFile, rm, stat, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errno } from '@vmkit/core/state-folder'
import type { ResolvedOptions } from '../options.js'

type CacheOptions = Pick<ResolvedOptions, 'cacheDir' | 'cacheKeepDays'>

const DAY_MS = 24 * 60 * 60 * 1000
const DISK = /^(rootfs|image)-[A-Za-z0-9-]+\.qcow2$/
/** Of a build: `<disk>.<pid>.<try>`, what it is made of, and unpacked layers. None takes a day. */
const HALF = /^((rootfs|image)-[A-Za-z0-9-]+\.qcow2\.\d+\.\d+(\.raw|\.owners)?|unpacked-.+)$/

export const diskPath = (cacheDir: string, key: string): string => join(cacheDir, 'disks', `${key}.qcow2`)

/** The first part of the names of all disks of an image. */
export const imageKey = (digest: string): string => `image-${digest.replace(/^sha256:/, '').replace(/\W/g, '-')}`

/** A disk of the cache; `make` makes it where it is not there yet. */
export async function cachedDisk(options: CacheOptions, key: string, make: (path: string) => Promise<void>): Promise<string> {
  const path = diskPath(options.cacheDir, key)
  if (await isThere(path)) return path
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await make(path)
  // A disk that cannot be removed is no reason to fail.
  await pruneDisks(options).catch(() => {})
  return path
}

/** Whether the disk is there. To ask is to use it. */
export async function isThere(path: string): Promise<boolean> {
  const now = new Date()
  try {
    await utimes(path, now, now)
    return true
  } catch (error) {
    // EPERM: it is another user's, who shares the cache.
    return errno(error) === 'EPERM'
  }
}

/** Removes what was not used for `cacheKeepDays`; not the disks of images that `images.list()` names: `images.remove()` does. */
export async function pruneDisks({ cacheDir, cacheKeepDays }: CacheOptions): Promise<void> {
  const folder = join(cacheDir, 'disks')
  const listed = await listedImages(cacheDir)
  for (const name of await readdir(folder)) {
    const days = HALF.test(name) ? 1 : DISK.test(name) && !listed.some((key) => name.startsWith(key)) ? cacheKeepDays : undefined
    if (days === undefined) continue
    const path = join(folder, name)
    const usedAt = await stat(path).then(
      ({ mtimeMs }) => mtimeMs,
      () => Number.POSITIVE_INFINITY,
    )
    if (usedAt < Date.now() - days * DAY_MS) await rm(path, { recursive: true, force: true })
  }
}

/** A note that cannot be read names no disk, and says nothing about the others: then none is removed. */
async function listedImages(cacheDir: string): Promise<string[]> {
  const folder = join(cacheDir, 'images')
  const names = await readdir(folder).catch((error: unknown) => {
    if (errno(error) === 'ENOENT') return []
    throw error
  })
  const notes = await Promise.all(names.filter((name) => name.endsWith('.json')).map((name) => readFile(join(folder, name), 'utf8')))
  return notes.map((text) => imageKey((JSON.parse(text) as { digest: string }).digest))
}
