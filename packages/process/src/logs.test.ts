import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { formatCursor, parseCursor, readLogs, share } from './logs.js'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vmkit-logs-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const signal = new AbortController().signal

async function read(options = {}, hasEnded = () => true) {
  const found = []
  for await (const { source, text, partial } of readLogs({ folder, sources: ['stdout', 'stderr'], hasEnded }, options, signal))
    found.push([source, text, partial ?? false])
  return found
}

it('cursors hold the place in every stream', () => {
  expect(formatCursor({ stdout: 12, stderr: 0 })).toBe('o12e0')
  expect(parseCursor('o12e0')).toEqual({ stdout: 12, stderr: 0 })
  expect(parseCursor('c7')).toEqual({ console: 7 })
  for (const text of ['', 'x', 'o', 'o-1', 'e1o1', 'o1 ', 'o99999999999999999'])
    expect(() => parseCursor(text)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
})

it('a tail is shared between streams, and filled up from the other', () => {
  expect(share(4, [10, 10])).toEqual([2, 2])
  expect(share(4, [1, 10])).toEqual([1, 3])
  expect(share(9, [1, 2])).toEqual([1, 2])
  expect(share(0, [1, 2])).toEqual([0, 0])
})

it('starts behind the first newline after the floor', async () => {
  writeFileSync(join(folder, 'stdout'), `${'\0'.repeat(8)}half\nwhole\nlast`)
  writeFileSync(join(folder, 'stdout.floor'), '4\n8\n')
  expect(await read()).toEqual([
    ['stdout', 'whole', false],
    ['stdout', 'last', false],
  ])
  expect(await read({ after: 'o1' })).toHaveLength(2)
  expect(await read({ tail: 1 })).toEqual([['stdout', 'last', false]])
})

it('tails over blocks, with and without a last newline', async () => {
  writeFileSync(join(folder, 'stdout'), Array.from({ length: 9000 }, (_, i) => `line ${i} ${'.'.repeat(20)}\n`).join(''))
  const tail = await read({ tail: 5000, sources: ['stdout'] })
  expect(tail).toHaveLength(5000)
  expect(tail[0]?.[1]).toMatch(/^line 4000 /)
  expect(await read({ tail: 0 })).toEqual([])
  expect(await read({ tail: 99_999 })).toHaveLength(9000)
})

it('follows, puts split characters together, and ends with the machine', async () => {
  const bytes = Buffer.from('grün ✓\nnext\n')
  writeFileSync(join(folder, 'stdout'), bytes.subarray(0, 3))
  let ended = false
  const reading = read({ follow: true }, () => ended)
  for (let i = 3; i < bytes.length; i += 1) {
    await new Promise((resolve) => setImmediate(resolve))
    appendFileSync(join(folder, 'stdout'), bytes.subarray(i, i + 1))
  }
  ended = true
  appendFileSync(join(folder, 'stderr'), 'open end')
  expect(await reading).toEqual([
    ['stdout', 'grün ✓', false],
    ['stdout', 'next', false],
    ['stderr', 'open end', false],
  ])
})
