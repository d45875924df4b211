import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { walk } from './root.js'

let base: string
let root: string

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'vmkit-root-'))
  root = join(base, 'root')
  mkdirSync(join(root, 'etc'), { recursive: true })
  writeFileSync(join(base, 'secret'), 'outside')
  writeFileSync(join(root, 'etc/hosts'), 'inside')
})
afterEach(() => rmSync(base, { recursive: true }))

const read = (path: string): string => {
  const { folder, name } = walk(root, path, { followLast: true })
  try {
    return readFileSync(`${folder.path}/${name}`, 'utf8')
  } finally {
    folder.close()
  }
}

it('finds what is there, also through links', () => {
  symlinkSync('/etc', join(root, 'link'))
  symlinkSync('hosts', join(root, 'etc/names'))
  symlinkSync('../../../etc', join(root, 'etc/up'))
  for (const path of ['/etc/hosts', 'etc/./hosts', 'etc/../etc/hosts', '/link/hosts', '/link/names', 'etc/up/hosts'])
    expect(read(path), path).toBe('inside')
})

it('never leaves the root', () => {
  symlinkSync('../../secret', join(root, 'etc/escape'))
  symlinkSync(base, join(root, 'absolute'))
  for (const path of ['../secret', '/../../secret', 'etc/escape', 'absolute/secret', 'etc/../../secret'])
    expect(() => read(path), path).toThrow(/ENOENT/)
})

it('gives up on links in a circle', () => {
  symlinkSync('b', join(root, 'a'))
  symlinkSync('a', join(root, 'b'))
  expect(() => read('a/x')).toThrow(/too many/)
})

it('makes folders on the way only when asked', () => {
  expect(() => walk(root, 'new/deep/file', { followLast: false })).toThrow(/ENOENT/)
  const { folder, name, resolved } = walk(root, 'new/deep/file', { followLast: false, makeParents: true })
  writeFileSync(`${folder.path}/${name}`, 'made')
  folder.close()
  expect(resolved).toBe('/new/deep/file')
  expect(readFileSync(join(root, 'new/deep/file'), 'utf8')).toBe('made')
})

it('leaves no descriptor open', () => {
  const before = readdirSync('/proc/self/fd').length
  for (const path of ['etc/hosts', 'no/such', '../x', 'etc/..', '/']) {
    try {
      walk(root, path, { followLast: true }).folder.close()
    } catch {
      // not there
    }
  }
  expect(readdirSync('/proc/self/fd').length).toBe(before)
})
