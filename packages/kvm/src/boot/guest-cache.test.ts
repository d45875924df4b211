import { existsSync, linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { machineFolder } from '../state/machine-folder.js'
import { isGuestThere, keepKernel, ownKernel, pruneGuests } from './guest-cache.js'

const version = (digit: string): string => `cloud-${digit.repeat(16)}`

describe('the cache of guest kernels', () => {
  let cacheDir: string
  beforeEach(() => {
    cacheDir = mkdtempSync(join(tmpdir(), 'vmkit-guests-'))
  })
  afterEach(() => rmSync(cacheDir, { recursive: true }))

  function made(name: string, daysAgo: number): string {
    const folder = join(cacheDir, 'guest', name)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'vmlinux'), 'kernel')
    age(folder, daysAgo)
    return folder
  }
  function age(folder: string, daysAgo: number): void {
    const at = Date.now() / 1000 - daysAgo * 24 * 60 * 60
    utimesSync(folder, at, at)
  }

  it('loses what no create used for long; not what is used, kept, or not its own', async () => {
    const [old, used, kept] = [made(version('a'), 31), made(version('b'), 31), made(version('c'), 1)]
    for (const name of ['.work.x1', '.gone.y', 'notes', 'cloud-short']) made(name, 31)
    made('.work.new', 0.5)
    expect(await isGuestThere(used)).toBe(true)
    await keepKernel(join(kept, 'vmlinux'))
    age(kept, 31)
    await pruneGuests({ cacheDir, cacheKeepDays: 30 })
    expect(readdirSync(join(cacheDir, 'guest')).sort()).toEqual(['.work.new', version('b'), version('c'), 'cloud-short', 'notes'].sort())
    expect(existsSync(old)).toBe(false)
    expect(await isGuestThere(old)).toBe(false)
  })

  it('a machine keeps the kernel that it boots when the cache loses it', async () => {
    const folder = machineFolder(cacheDir, '000000000001')
    mkdirSync(folder.path, { recursive: true })
    const old = made(version('d'), 31)
    expect(await ownKernel(join(old, 'vmlinux'), folder)).toBe('kernel')
    age(old, 31)
    await pruneGuests({ cacheDir, cacheKeepDays: 30 })
    expect(existsSync(old)).toBe(false)
    expect(readFileSync(folder.kernel, 'utf8')).toBe('kernel')
    await expect(ownKernel(join(old, 'vmlinux'), { ...folder, kernel: `${folder.kernel}2` })).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('a path that is no kernel of a cache is left alone', async () => {
    const own = join(cacheDir, 'own')
    mkdirSync(own)
    linkSync(join(made(version('e'), 1), 'vmlinux'), join(own, 'vmlinux'))
    await keepKernel(join(own, 'vmlinux'))
    expect(readdirSync(own)).toEqual(['vmlinux'])
  })
})
