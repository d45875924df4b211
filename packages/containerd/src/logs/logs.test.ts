import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LogEntry, LogOptions } from '@vmkit/core/driver'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { formatCursor, parseCursor } from './cursor.js'
import { readLogs, shares } from './read.js'

let folder: string
let ended = true

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vmkit-logs-'))
  ended = true
})
afterEach(() => rmSync(folder, { recursive: true }))

const never = new AbortController().signal
const target = (stamped = false) => ({
  folder,
  files: stamped
    ? [{ source: 'stdout' as const, path: join(folder, 'log') }]
    : (['stdout', 'stderr'] as const).map((source) => ({ source, path: join(folder, source) })),
  stamped,
  hasEnded: async () => ended,
})

async function all(options: LogOptions = {}, stamped = false): Promise<LogEntry[]> {
  const entries: LogEntry[] = []
  for await (const entry of readLogs(target(stamped), options, never)) entries.push(entry)
  return entries
}

const texts = (entries: LogEntry[]) => entries.map(({ text }) => text)

it('reads both streams, and goes on behind a cursor', async () => {
  writeFileSync(join(folder, 'stdout'), 'one\ntwo\n')
  writeFileSync(join(folder, 'stderr'), 'bad\nworse')
  const entries = await all()
  expect(entries.map(({ source, text }) => `${source} ${text}`)).toEqual(['stdout one', 'stdout two', 'stderr bad', 'stderr worse'])
  expect(texts(await all({ after: entries[1]?.cursor }))).toEqual(['bad', 'worse'])
  expect(texts(await all({ sources: ['stderr'] }))).toEqual(['bad', 'worse'])
  expect(texts(await all({ tail: 2 }))).toEqual(['two', 'worse'])
  expect(texts(await all({ tail: 0 }))).toEqual([])
})

it('skips what was given back', async () => {
  writeFileSync(join(folder, 'stdout'), 'gone\nhalf\nkept\n')
  writeFileSync(join(folder, 'stdout.floor'), '7')
  expect(texts(await all())).toEqual(['kept'])
})

it('follows until the machine has ended and everything is read', async () => {
  ended = false
  writeFileSync(join(folder, 'stdout'), 'first\n')
  const seen: string[] = []
  for await (const { text } of readLogs(target(), { follow: true }, never)) {
    seen.push(text)
    if (text === 'first') appendFileSync(join(folder, 'stdout'), 'second\nlast')
    if (text === 'second') ended = true
  }
  expect(seen).toEqual(['first', 'second', 'last'])
})

it('reads what the logger wrote: sources, times, parts', async () => {
  writeFileSync(join(folder, 'log'), '1700000000.000100 o one\n1700000001.500000 e bad\n1700000002.000000 O unended\nbroken')
  const entries = await all({}, true)
  expect(entries.map(({ source, text, at, partial }) => [source, text, at, partial ?? false])).toEqual([
    ['stdout', 'one', 1_700_000_000_000, false],
    ['stderr', 'bad', 1_700_000_001_500, false],
    ['stdout', 'unended', 1_700_000_002_000, true],
  ])
  expect(texts(await all({ since: 1_700_000_001_500 }, true))).toEqual(['bad', 'unended'])
  expect(texts(await all({ sources: ['stdout'], tail: 1 }, true))).toEqual(['unended'])
})

it('takes only its own cursors', () => {
  expect(parseCursor(formatCursor({ stdout: 5, stderr: 0 }))).toEqual({ stdout: 5, stderr: 0 })
  for (const text of ['', 'x', 'e1o2', 'o-1']) expect(() => parseCursor(text), text).toThrow(/options\.after/)
})

it('shares lines evenly', () => {
  expect(shares(3, [10, 10])).toEqual([2, 1])
  expect(shares(5, [1, 10])).toEqual([1, 4])
  expect(shares(5, [0, 0])).toEqual([0, 0])
})

it('a file that was begun anew is read from its start, also by whoever had read further', async () => {
  writeFileSync(join(folder, 'stdout'), 'of the first run\n')
  const after = (await all()).at(-1)?.cursor
  writeFileSync(join(folder, 'stdout'), 'second\n')
  expect((await all({ after })).map(({ text }) => text)).toEqual(['second'])
})
