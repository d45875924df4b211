import { existsSync, linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { cachedDisk, diskPath, isThere, pruneDisks } from './disk-cache.js'

const DAY_S = 24 * 60 * 60

describe('the cache of disks', () => {
  let cacheDir: string
  let disks: string
  beforeEach(() => {
    cacheDir = mkdtempSync(join(tmpdir(), 'vmkit-cache-'))
    disks = join(cacheDir, 'disks')
    mkdirSync(disks)
  })
  afterEach(() => rmSync(cacheDir, { recursive: true }))

  function used(name: string, daysAgo: number): void {
    const path = join(disks, name)
    if (name.startsWith('unpacked-')) mkdirSync(join(path, 'root'), { recursive: true })
    else writeFileSync(path, name)
    const at = Date.now() / 1000 - daysAgo * DAY_S
    utimesSync(path, at, at)
  }

  it('loses what nobody used for long, and halves of yesterday; not what is listed, nor what it does not know', async () => {
    mkdirSync(join(cacheDir, 'images'))
    writeFileSync(join(cacheDir, 'images', 'a.json'), JSON.stringify({ digest: 'sha256:listed' }))
    const old = ['rootfs-aa-2147483648.qcow2', 'image-bb.qcow2', 'image-bb-1048576.qcow2']
    const halves = ['rootfs-cc-1.qcow2.17.1.raw', 'image-dd.qcow2.17.2', 'unpacked-x1']
    const kept = ['image-listed.qcow2', 'image-listed-1048576.qcow2', 'notes.txt', 'rootfs-x.qcow2.bak']
    for (const name of [...old, ...kept]) used(name, 31)
    for (const name of halves) used(name, 2)
    used('rootfs-new-1.qcow2', 29)
    used('rootfs-cc-1.qcow2.17.2.raw', 0.5)
    await pruneDisks({ cacheDir, cacheKeepDays: 30 })
    expect(readdirSync(disks).sort()).toEqual([...kept, 'rootfs-new-1.qcow2', 'rootfs-cc-1.qcow2.17.2.raw'].sort())
  })

  it('removes nothing when a note cannot be read', async () => {
    mkdirSync(join(cacheDir, 'images'))
    writeFileSync(join(cacheDir, 'images', 'a.json'), '{"dig')
    used('image-bb.qcow2', 31)
    await expect(pruneDisks({ cacheDir, cacheKeepDays: 30 })).rejects.toThrow(SyntaxError)
    expect(readdirSync(disks)).toEqual(['image-bb.qcow2'])
  })

  it('is pruned when a disk is made, and a use counts', async () => {
    const options = { cacheDir, cacheKeepDays: 30 }
    const make = async (path: string): Promise<void> => writeFileSync(path, 'made')
    for (const name of ['rootfs-used-1.qcow2', 'rootfs-not-1.qcow2']) used(name, 31)
    // A machine's own.
    linkSync(join(disks, 'rootfs-not-1.qcow2'), join(cacheDir, 'base.qcow2'))
    expect(await isThere(diskPath(cacheDir, 'rootfs-used-1'))).toBe(true)
    expect(await isThere(diskPath(cacheDir, 'rootfs-new-1'))).toBe(false)
    const path = await cachedDisk(options, 'rootfs-new-1', make)
    expect(readdirSync(disks).sort()).toEqual(['rootfs-new-1.qcow2', 'rootfs-used-1.qcow2'])
    expect(existsSync(join(cacheDir, 'base.qcow2'))).toBe(true)
    const unwanted = async (): Promise<void> => Promise.reject(new Error('it is there'))
    expect(await cachedDisk(options, 'rootfs-new-1', unwanted)).toBe(path)
  })
})
