import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { copyMemory, dataIn } from './template.js'

const folder = mkdtempSync(join(tmpdir(), 'vmkit-template-'))
afterAll(() => rmSync(folder, { recursive: true }))

it('finds what is not zero, in whole blocks', () => {
  const chunk = Buffer.alloc(5 * 4096 + 100)
  expect(dataIn(chunk)).toEqual([])
  chunk[4096] = 1
  chunk[3 * 4096 - 1] = 1
  chunk[5 * 4096 + 99] = 1
  expect(dataIn(chunk)).toEqual([
    [4096, 3 * 4096],
    [5 * 4096, 5 * 4096 + 100],
  ])
})

it('copies memory as it is, with holes where it is zero, and leaves nothing when it is aborted', async () => {
  const memory = Buffer.alloc(8 * 2 ** 20)
  memory.write('first', 0)
  memory.write('last', memory.length - 4)
  const [from, to] = [join(folder, 'memory.ram'), join(folder, 'copy.ram')]
  writeFileSync(from, memory)
  await copyMemory(from, to, new AbortController().signal)
  expect(readFileSync(to).equals(memory)).toBe(true)
  rmSync(to)
  await expect(copyMemory(from, to, AbortSignal.abort())).rejects.toMatchObject({ code: 'ABORTED' })
  expect(readdirSync(folder)).toEqual(['memory.ram'])
  await copyMemory(from, to, new AbortController().signal)
  expect(statSync(to).mode & 0o777).toBe(0o600)
})
