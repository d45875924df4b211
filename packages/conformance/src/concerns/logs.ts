import assert from 'node:assert/strict'
import type { LogEntry, LogOptions } from '@vmkit/core'
import { assertSoon } from '../abort-at.js'
import { all, first, rejects } from '../assertions.js'
import { givenTime } from '../given-time.js'
import type { FullVM, Test, Tools } from '../tools.js'

const MARK = 'kit:'

/** What the machine writes. A serial console mixes in what the guest says at boot, so only marked lines count. */
export function logs(test: Test): void {
  const needs = ['logs'] as const

  test('stdout and stderr are told apart, or all is the console', { needs }, async (t) => {
    const vm = await ended(t, `${MARK}one\n${MARK}two ü✓𝄞\n`, `${MARK}err\n`)
    const entries = await marked(vm)
    if (entries[0]?.source === 'console') {
      assert.deepEqual(entries.map(({ text }) => text).sort(), [`${MARK}err`, `${MARK}one`, `${MARK}two ü✓𝄞`])
      return
    }
    const bySource = (source: string) => entries.filter((entry) => entry.source === source).map(({ text }) => text)
    assert.deepEqual(bySource('stdout'), [`${MARK}one`, `${MARK}two ü✓𝄞`])
    assert.deepEqual(bySource('stderr'), [`${MARK}err`])
    assert.deepEqual(
      (await marked(vm, { sources: ['stderr'] })).map(({ text }) => text),
      [`${MARK}err`],
    )
    for (const { cursor, at } of entries) {
      assert.equal(typeof cursor, 'string')
      assert.ok(at === null || Math.abs(at - Date.now()) < t.ms(120_000), `at: expected epoch milliseconds, got ${at}`)
    }
  })

  test('a last line without a line end is a line', { needs }, async (t) => {
    const vm = await ended(t, `${MARK}first\n${MARK}unended`, '')
    assert.deepEqual(
      (await marked(vm)).map(({ text }) => text),
      [`${MARK}first`, `${MARK}unended`],
    )
  })

  test('a machine that wrote nothing has no lines of its own', { needs }, async (t) => {
    const vm = await ended(t, '', '')
    assert.deepEqual(await marked(vm), [])
    const never = await t.create({ does: 'idle' })
    assert.deepEqual(await marked(never), [])
  })

  test('tail gives the last lines', { needs }, async (t) => {
    const vm = await ended(t, lines(10), '')
    const entries = await all(vm.logs())
    const tail = await all(vm.logs({ tail: 3 }))
    assert.deepEqual(
      tail.map(({ text }) => text),
      entries.slice(-3).map(({ text }) => text),
    )
    assert.deepEqual(await all(vm.logs({ tail: 0 })), [])
    assert.equal((await all(vm.logs({ tail: 10_000 }))).length, entries.length)
  })

  test('a cursor goes on behind its entry', { needs }, async (t) => {
    const vm = await ended(t, lines(6), '')
    const entries = await all(vm.logs())
    const middle = entries[entries.length - 4] as LogEntry
    assert.deepEqual(
      (await all(vm.logs({ after: middle.cursor }))).map(({ text }) => text),
      entries.slice(-3).map(({ text }) => text),
    )
    assert.deepEqual(await all(vm.logs({ after: (entries.at(-1) as LogEntry).cursor })), [])
  })

  test('since gives what was written from then on', { needs: ['logs', 'logs.since'] }, async (t) => {
    const vm = await t.start({ does: 'tick', everyMs: 100 })
    // A busy engine reads some lines at a time, and gives them one time.
    const { early, pivot } = await t.until('a line with a later time', async () => {
      const entries = (await all(vm.logs())).filter(({ text }) => text.startsWith('tick '))
      for (const { at } of entries) assert.ok(at !== null, 'a driver with logs.since knows the time of each line')
      const later = entries.find(({ at }) => Number(at) > Number(entries[0]?.at))
      return later && { early: (entries[0] as LogEntry).text, pivot: later as LogEntry & { at: number } }
    })
    const later = (await all(vm.logs({ since: pivot.at }))).map(({ text }) => text)
    assert.ok(later.includes(pivot.text), `since the time of ${pivot.text} must include it, got ${later.join(', ')}`)
    assert.ok(!later.includes(early), `since the time of ${pivot.text} must leave out ${early}, got ${later.join(', ')}`)
    assert.deepEqual(await all(vm.logs({ since: Date.now() + 3_600_000 })), [])
  })

  test('follow gives lines as they come, and ends with the machine', { needs }, async (t) => {
    const vm = await t.start({ does: 'tick', everyMs: 30 })
    const seen: string[] = []
    const reading = (async () => {
      for await (const { text } of vm.logs({ follow: true })) {
        if (!text.startsWith('tick ')) continue
        seen.push(text)
        if (seen.length === 3) void vm.stop({ graceMs: t.ms(3000) })
      }
    })()
    await t.within(20_000, 'the end of the followed log', reading)
    assert.deepEqual(seen.slice(0, 3), ['tick 1', 'tick 2', 'tick 3'])
    assert.equal((await vm.status()).state, 'stopped', 'the log must not end before the machine')
  })

  test('follow of a machine that has ended gives all and ends', { needs }, async (t) => {
    const vm = await ended(t, lines(3), '')
    const entries = await t.within(10_000, 'the end of the log', all(vm.logs({ follow: true })))
    assert.deepEqual(
      entries.filter(isMarked).map(({ text }) => text),
      [`${MARK}1`, `${MARK}2`, `${MARK}3`],
    )
  })

  test('follow with tail skips what is old', { needs }, async (t) => {
    const vm = await t.start({ does: 'tick', everyMs: 30 })
    await vm.waitFor({ log: 'tick 4', timeoutMs: t.ms(20_000) })
    const next = await t.within(10_000, 'the next line', first(vm.logs({ follow: true, tail: 0 })))
    assert.ok(Number(next.text.split(' ')[1]) > 4, `got an old line: ${next.text}`)
  })

  test('UTF-8 that comes in pieces is one text', { needs }, async (t) => {
    const text = `${MARK}ü✓𝄞`
    const vm = await t.start({ does: 'pieces', bytes: [...Buffer.from(`${text}\n`)].map((byte) => [byte]) })
    await t.within(20_000, 'the end', vm.wait())
    assert.deepEqual(
      (await marked(vm)).map((entry) => entry.text),
      [text],
    )
    const follower = await t.start({ does: 'pieces', bytes: [...Buffer.from(`${text}\n`)].map((byte) => [byte]) })
    const entries = await t.within(20_000, 'the end of the followed log', all(follower.logs({ follow: true })))
    assert.deepEqual(
      entries.filter(isMarked).map((entry) => entry.text),
      [text],
      'followed while it is written',
    )
  })

  test('a very long line comes in parts that make it up again', { needs }, async (t) => {
    // Linux takes at most 128 KiB in one argument, which is how the text may travel (execve(2)).
    const long = MARK + 'é'.repeat(50_000)
    const vm = await ended(t, `${long}\n${MARK}next\n`, '')
    const entries = await all(vm.logs())
    const start = entries.findIndex(isMarked)
    const end = entries.findIndex(({ partial }, i) => i >= start && !partial)
    const parts = entries.slice(start, end + 1)
    assert.ok(parts.length > 1, 'a line of 100 kB must come in parts')
    for (const { text } of parts) assert.ok(Buffer.byteLength(text) <= 64 * 1024, `a part has ${Buffer.byteLength(text)} bytes`)
    assert.ok(parts.map(({ text }) => text).join('') === long, 'the parts do not make up the line')
    assert.equal(entries[end + 1]?.text, `${MARK}next`)
  })

  test('a terminal is one source, the console', { needs }, async (t) => {
    if (!t.facts.fields.includes('tty')) t.skip('the driver does not honour `tty` (its refusal is tested)')
    const vm = await t.start({ does: 'print', stdout: `${MARK}out\n`, stderr: `${MARK}err\n` }, { tty: true })
    await t.within(20_000, 'the end of the machine', vm.wait())
    const entries = await marked(vm)
    assert.deepEqual(
      entries.map(({ source }) => source),
      ['console', 'console'],
    )
    assert.deepEqual(entries.map(({ text }) => text.trim()).sort(), [`${MARK}err`, `${MARK}out`])
  })

  test('waitFor finds a line, written before or after', { needs }, async (t) => {
    const vm = await t.start({ does: 'tick', everyMs: 30 })
    await vm.waitFor({ log: 'tick 3', timeoutMs: t.ms(20_000) })
    await vm.waitFor({ log: /^tick [12]$/, timeoutMs: t.ms(20_000) })
  })

  test('waitFor fails at once, with the last words, when the machine ends first', { needs }, async (t) => {
    const vm = await t.start({ does: 'print', stdout: 'about to fail\n', stderr: '', code: 3 })
    const startedAt = performance.now()
    const error = await rejects(vm.waitFor({ log: 'never written', timeoutMs: t.ms(25_000) }), 'GUEST_ERROR')
    assert.ok(performance.now() - startedAt < t.ms(10_000), 'it waited for its timeout, although the machine had ended')
    assert.ok(
      error.evidence?.logTail?.some((line) => line.includes('about to fail')),
      'the error must have the last log lines',
    )
    assert.ok(error.evidence?.exit?.code === 3 || error.evidence?.exit?.code === null, 'the error must have the exit')
  })

  test('waitFor gives up in time, with the last words', { needs }, async (t) => {
    const vm = await t.start({ does: 'stubborn' })
    await vm.waitFor({ log: 'ready', timeoutMs: t.ms(20_000) })
    using sinceCall = givenTime()
    const error = await rejects(vm.waitFor({ log: 'never written', timeoutMs: 300 }), 'TIMEOUT')
    assertSoon(sinceCall, 'a deadline of 300 ms', 300 + t.ms(1500))
    assert.ok(error.evidence?.logTail?.some((line) => line.includes('ready')))
  })

  test('what a run wrote is kept after stop, and goes with delete', { needs }, async (t) => {
    const vm = await ended(t, lines(1), '')
    assert.equal((await marked(vm)).length, 1)
    const name = vm.name
    await vm.delete()
    const again = await t.create({ does: 'idle' }, { name })
    assert.deepEqual(await marked(again), [])
  })
}

async function ended(t: Tools, stdout: string, stderr: string): Promise<FullVM> {
  const vm = await t.start({ does: 'print', stdout, stderr })
  await t.within(20_000, 'the end of the machine', vm.wait())
  return vm
}

async function marked(vm: FullVM, options?: LogOptions): Promise<LogEntry[]> {
  return (await all(vm.logs(options))).filter(isMarked)
}

function isMarked({ text }: LogEntry): boolean {
  return text.startsWith(MARK)
}

function lines(count: number): string {
  return Array.from({ length: count }, (_, i) => `${MARK}${i + 1}\n`).join('')
}
