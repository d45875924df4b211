import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { LogEntry, LogOptions } from '../driver-kit.js'
import { formatCursor, parseCursor } from './log-cursor.js'
import { share } from './log-tail.js'
import { followOutput, type LogTarget, readLogs } from './logs.js'

let folder = ''
let ended = true
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vmkit-logs-'))
  ended = true
})
afterEach(() => rmSync(folder, { recursive: true }))

const { signal } = new AbortController()

function target(): LogTarget {
  return {
    folder,
    files: (['stdout', 'stderr'] as const).map((source) => ({ source, path: join(folder, source) })),
    hasEnded: () => ended,
  }
}

async function all(options: LogOptions = {}, from = target()): Promise<LogEntry[]> {
  const entries: LogEntry[] = []
  for await (const entry of readLogs(from, options, signal)) entries.push(entry)
  return entries
}

const brief = (entries: LogEntry[]) => entries.map(({ source, text, partial }) => [source, text, partial ?? false])
const texts = (entries: LogEntry[]) => entries.map(({ text }) => text)

it('cursors hold the place in every file', () => {
  expect(formatCursor({ stdout: 12, stderr: 0 })).toBe('o12e0')
  expect(parseCursor('o12e0')).toEqual({ stdout: 12, stderr: 0 })
  expect(parseCursor('c7')).toEqual({ console: 7 })
  for (const text of ['', 'x', 'o', 'o-1', 'e1o1', 'o1 ', 'o99999999999999999'])
    expect(() => parseCursor(text), text).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', field: 'options.after' }))
})

it('a tail is shared between files, and filled up from the other', () => {
  expect(share(4, [10, 10])).toEqual([2, 2])
  expect(share(3, [10, 10])).toEqual([2, 1])
  expect(share(4, [1, 10])).toEqual([1, 3])
  expect(share(9, [1, 2])).toEqual([1, 2])
  expect(share(0, [1, 2])).toEqual([0, 0])
  expect(share(5, [0, 0])).toEqual([0, 0])
})

it('reads both files, and goes on behind a cursor', async () => {
  writeFileSync(join(folder, 'stdout'), 'one\ntwo\n')
  writeFileSync(join(folder, 'stderr'), 'bad\nworse')
  const entries = await all()
  expect(entries.map(({ source, text }) => `${source} ${text}`)).toEqual(['stdout one', 'stdout two', 'stderr bad', 'stderr worse'])
  expect(texts(await all({ after: entries[1]?.cursor }))).toEqual(['bad', 'worse'])
  expect(texts(await all({ sources: ['stderr'] }))).toEqual(['bad', 'worse'])
  expect(texts(await all({ tail: 2 }))).toEqual(['two', 'worse'])
  expect(texts(await all({ tail: 0 }))).toEqual([])
})

it('starts behind the first newline after the floor', async () => {
  writeFileSync(join(folder, 'stdout'), `${'\0'.repeat(8)}half\nwhole\nlast`)
  writeFileSync(join(folder, 'stdout.floor'), '4\n8\n')
  expect(brief(await all())).toEqual([
    ['stdout', 'whole', false],
    ['stdout', 'last', false],
  ])
  expect(await all({ after: 'o1' })).toHaveLength(2)
  expect(brief(await all({ tail: 1 }))).toEqual([['stdout', 'last', false]])
})

it('tails over blocks, with and without a last newline', async () => {
  writeFileSync(join(folder, 'stdout'), Array.from({ length: 9000 }, (_, i) => `line ${i} ${'.'.repeat(20)}\n`).join(''))
  const tail = await all({ tail: 5000, sources: ['stdout'] })
  expect(tail).toHaveLength(5000)
  expect(tail[0]?.text).toMatch(/^line 4000 /)
  expect(await all({ tail: 0 })).toEqual([])
  expect(await all({ tail: 99_999 })).toHaveLength(9000)
})

it('follows, puts split characters together, and ends with the machine', async () => {
  const bytes = Buffer.from('grün ✓\nnext\n')
  writeFileSync(join(folder, 'stdout'), bytes.subarray(0, 3))
  ended = false
  const reading = all({ follow: true })
  for (let i = 3; i < bytes.length; i += 1) {
    await new Promise((resolve) => setImmediate(resolve))
    appendFileSync(join(folder, 'stdout'), bytes.subarray(i, i + 1))
  }
  ended = true
  appendFileSync(join(folder, 'stderr'), 'open end')
  expect(brief(await reading)).toEqual([
    ['stdout', 'grün ✓', false],
    ['stdout', 'next', false],
    ['stderr', 'open end', false],
  ])
})

it('follows until the machine has ended and everything is read', async () => {
  ended = false
  writeFileSync(join(folder, 'stdout'), 'first\n')
  const seen: string[] = []
  for await (const { text } of readLogs(target(), { follow: true }, signal)) {
    seen.push(text)
    if (text === 'first') appendFileSync(join(folder, 'stdout'), 'second\nlast')
    if (text === 'second') ended = true
  }
  expect(seen).toEqual(['first', 'second', 'last'])
})

it('lines can tell their source and time, and then are chosen by them', async () => {
  writeFileSync(join(folder, 'stdout'), 'stdout 10 one\nstderr 20 bad\nstdout 30 two\nno entry')
  const parse = (line: LogEntry): LogEntry | undefined => {
    const match = /^(stdout|stderr) (\d+) (.*)$/.exec(line.text)
    return match ? { ...line, source: match[1] as 'stdout' | 'stderr', at: Number(match[2]), text: match[3] as string } : undefined
  }
  const from = { ...target(), parse }
  expect((await all({}, from)).map(({ source, at, text }) => [source, at, text])).toEqual([
    ['stdout', 10, 'one'],
    ['stderr', 20, 'bad'],
    ['stdout', 30, 'two'],
  ])
  expect(texts(await all({ since: 20 }, from))).toEqual(['bad', 'two'])
  expect(texts(await all({ sources: ['stdout'], tail: 1 }, from))).toEqual(['two'])
  expect(texts(await all({ sources: ['stderr'] }, from))).toEqual(['bad'])
})

it('follows bytes from where the files ended, also of files that are deleted then', async () => {
  ended = false
  writeFileSync(join(folder, 'stdout'), 'before')
  const { output } = await followOutput(target())
  appendFileSync(join(folder, 'stdout'), 'after')
  rmSync(join(folder, 'stdout'))
  const seen: string[] = []
  for await (const { source, data } of output) {
    seen.push(`${source} ${Buffer.from(data).toString()}`)
    if (seen.length === 1) writeFileSync(join(folder, 'stderr'), 'late')
    else ended = true
  }
  expect(seen).toEqual(['stdout after', 'stderr late'])
})

it('a follower that is closed ends', async () => {
  ended = false
  writeFileSync(join(folder, 'stdout'), '')
  const { output, close } = await followOutput(target())
  const waiting = output[Symbol.asyncIterator]().next()
  await close()
  expect(await waiting).toEqual({ done: true, value: undefined })
})

it('a file that was begun anew is read from its start, also by whoever had read further', async () => {
  writeFileSync(join(folder, 'stdout'), 'of the first run\n')
  const after = (await all()).at(-1)?.cursor
  writeFileSync(join(folder, 'stdout'), 'second\n')
  expect(texts(await all({ after }))).toEqual(['second'])
})
