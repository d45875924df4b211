import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { packVolume, unpackVolume } from './volume-content.js'

const work = mkdtempSync(join(tmpdir(), 'vmkit-kvm-content-'))
afterAll(() => rmSync(work, { recursive: true }))
const { signal } = new AbortController()

function folder(name: string): string {
  const path = join(work, name)
  mkdirSync(path)
  return path
}

type Entry = { name: string; type?: 'file' | 'directory' | 'symlink' | 'link' | 'character-device'; linkname?: string }

async function tarOf(entries: Entry[]): Promise<AsyncIterable<Uint8Array>> {
  const { pack } = (await import('tar-stream')).default
  const tar = pack()
  for (const entry of entries) {
    if (entry.type === undefined) tar.entry(entry, 'evil')
    else tar.entry(entry)
  }
  tar.finalize()
  return tar as AsyncIterable<Uint8Array>
}

describe('what is in a volume', () => {
  it('comes back with names, links, modes and times, and nothing is followed', async () => {
    const [from, to] = [folder('from'), folder('to')]
    mkdirSync(join(from, 'a b/deep'), { recursive: true })
    writeFileSync(join(from, 'a b/new\nline'), 'x'.repeat(200_000), { mode: 0o640 })
    writeFileSync(join(from, 'a b/deep/.hidden'), '')
    linkSync(join(from, 'a b/new\nline'), join(from, 'second'))
    symlinkSync('/etc/passwd', join(from, 'outside'))
    symlinkSync('a b', join(from, 'inside'))
    utimesSync(join(from, 'a b'), 1e9, 1e9)
    chmodSync(join(from, 'a b/deep'), 0o500)
    chmodSync(from, 0o751)
    await unpackVolume(to, packVolume(from), signal)
    expect(readdirSync(to).sort()).toEqual(['a b', 'inside', 'outside', 'second'])
    expect(readFileSync(join(to, 'second'), 'utf8')).toHaveLength(200_000)
    expect(lstatSync(join(to, 'a b/new\nline')).mode & 0o7777).toBe(0o640)
    expect(lstatSync(join(to, 'a b/deep')).mode & 0o7777).toBe(0o500)
    expect(lstatSync(join(to, 'a b')).mtimeMs).toBe(1e12)
    expect(lstatSync(to).mode & 0o7777).toBe(0o751)
    expect([readlinkSync(join(to, 'outside')), readlinkSync(join(to, 'inside'))]).toEqual(['/etc/passwd', 'a b'])
  })

  it('never leaves the folder, whatever a tar says', async () => {
    const outside = folder('outside')
    const hostile: Entry[][] = [
      [{ name: '../out' }],
      [{ name: '/etc/vmkit' }],
      [{ name: 'link', type: 'symlink', linkname: outside }, { name: 'link/out' }],
      [{ name: 'link', type: 'symlink', linkname: outside }, { name: 'second', type: 'link', linkname: 'link' }, { name: 'second/out' }],
      [{ name: 'hard', type: 'link', linkname: '../outside' }],
      [{ name: 'file' }, { name: 'file/below' }],
      [{ name: 'hard', type: 'link', linkname: 'none' }],
    ]
    for (const [index, entries] of hostile.entries()) {
      await expect(unpackVolume(folder(`hostile-${index}`), await tarOf(entries), signal)).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    }
    const replaced = folder('replaced')
    const kept = join(outside, 'kept')
    writeFileSync(kept, 'kept')
    await unpackVolume(
      replaced,
      await tarOf([{ name: 'x', type: 'symlink', linkname: kept }, { name: 'x' }, { name: 'dev', type: 'character-device' }]),
      signal,
    )
    expect(readFileSync(join(replaced, 'x'), 'utf8')).toBe('evil')
    expect(existsSync(join(replaced, 'dev'))).toBe(false)
    expect(readdirSync(outside)).toEqual(['kept'])
    expect(readFileSync(kept, 'utf8')).toBe('kept')
  })
})
