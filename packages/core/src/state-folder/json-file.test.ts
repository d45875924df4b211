import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { readJson, writeJson } from './json-file.js'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vmkit-json-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

it('keeps values, bytes of `content` too, and leaves no other file', () => {
  const path = join(folder, 'a.json')
  const value = { name: 'a', files: [{ path: '/x', content: new Uint8Array([0, 255, 10]) }], content: 'text' }
  writeJson(path, { name: 'old' })
  writeJson(path, value)
  expect(readJson(path)).toEqual(value)
  expect(readdirSync(folder)).toEqual(['a.json'])
})

it('what cannot be written leaves the old text', () => {
  const path = join(folder, 'a.json')
  writeJson(path, { name: 'old' })
  const before = readFileSync(path, 'utf8')
  expect(() => writeJson(path, { name: 1n })).toThrow()
  expect(readFileSync(path, 'utf8')).toBe(before)
})

it('is undefined where there is no file, and an error where there is no JSON', () => {
  writeFileSync(join(folder, 'bad.json'), '{')
  expect(readJson(join(folder, 'none.json'))).toBeUndefined()
  expect(readJson(join(folder, 'bad.json', 'none.json'))).toBeUndefined()
  expect(() => readJson(join(folder, 'bad.json'))).toThrow()
})
