import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pack } from 'tar-stream'
import { afterAll, expect, it } from 'vitest'
import { checkedTar, headerOf } from './checked-tar.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-kata-test-'))
afterAll(() => rmSync(folder, { recursive: true }))
const { signal } = new AbortController()

async function through(tar: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of checkedTar(tar, signal)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

it('keeps names, contents and links, as the tar of this host reads them', async () => {
  const long = `${'long/'.repeat(40)}ü`
  const source = pack()
  source.entry({ name: 'sub/', type: 'directory', mode: 0o750 })
  source.entry({ name: 'sub/plain', mode: 0o640, mtime: new Date(1_700_000_000_000) }, 'content')
  source.entry({ name: long }, 'x'.repeat(513))
  source.entry({ name: 'link', type: 'symlink', linkname: `${long}` })
  source.finalize()
  const tar = await through(source as AsyncIterable<Uint8Array>)
  expect(tar.length % 512).toBe(0)
  execFileSync('tar', ['-xf', '-'], { input: tar, cwd: folder })
  expect(readFileSync(join(folder, 'sub/plain'), 'utf8')).toBe('content')
  expect(statSync(join(folder, 'sub/plain'))).toMatchObject({ mtimeMs: 1_700_000_000_000, mode: 0o100640 })
  expect(readFileSync(join(folder, long), 'utf8')).toBe('x'.repeat(513))
  expect(readlinkSync(join(folder, 'link'))).toBe(long)
})

it.each([
  [{ name: '../x' }, 'below the target'],
  [{ name: '/x' }, 'below the target'],
  [{ name: 'a/../../x' }, 'below the target'],
  [{ name: 'x', type: 'link' as const, linkname: '/etc/passwd' }, 'below the target'],
  [{ name: 'x', type: 'character-device' as const }, 'files, folders and links'],
])('refuses %j', async (header, words) => {
  const source = pack()
  source.entry(header)
  source.finalize()
  await expect(through(source as AsyncIterable<Uint8Array>)).rejects.toMatchObject({
    code: 'INVALID_CONFIG',
    field: 'tar',
    message: expect.stringContaining(words),
  })
})

it('tells a tar that cannot be read from a source that broke', async () => {
  const entry = headerOf({ name: 'a', type: 'file', size: 2000, mode: 0o644, uid: 0, gid: 0, modifiedAt: 0, linkname: '' })
  async function* cut() {
    yield entry
  }
  await expect(through(cut())).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'tar' })
  async function* broken() {
    yield entry
    throw new Error('the source broke')
  }
  await expect(through(broken())).rejects.toThrow('the source broke')
})

it('writes what octal digits cannot hold in base 256', () => {
  const header = headerOf({ name: 'a', type: 'file', size: 9 * 2 ** 30, mode: 0o644, uid: 3_000_000, gid: 0, modifiedAt: 0, linkname: '' })
  expect(header.subarray(124, 136).toString('hex')).toBe('800000000000000240000000')
  expect(header.subarray(108, 116).toString('hex')).toBe('80000000002dc6c0')
})
