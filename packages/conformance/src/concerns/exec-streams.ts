import assert from 'node:assert/strict'
import type { ExecSession } from '@vmkit/core'
import { rejects } from '../assertions.js'
import type { Test } from '../tools.js'
import { assertGone } from './exec.js'

/** Commands with live streams. */
export function execStreams(test: Test): void {
  const needs = ['exec', 'exec.stream'] as const

  test('output comes while the command runs, each source apart', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await using session = await vm.execStream(t.command({ does: 'print', stdout: 'now', stderr: 'late', idles: true }))
    const seen = { stdout: '', stderr: '', console: '' }
    await t.within(
      10_000,
      'both outputs',
      (async () => {
        for await (const { source, data } of session.output) {
          assert.ok(data instanceof Uint8Array)
          seen[source] += Buffer.from(data).toString()
          if (seen.stdout === 'now' && seen.stderr === 'late') break
        }
      })(),
    )
    await session.kill()
    const end = await t.within(10_000, 'the end', session.wait())
    assert.notEqual(end.exitCode, 0, 'it was killed')
  })

  test('bytes are whole and in order', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const bytes = [[0], [255, 254], [0xf0, 0x9d], [0x84, 0x9e], [10], [13, 10]]
    await using session = await vm.execStream(t.command({ does: 'pieces', bytes }))
    assert.deepEqual([...(await bytesOf(session))], bytes.flat())
    assert.deepEqual(await session.wait(), { exitCode: 0, signal: null })
    assert.deepEqual(await session.wait(), { exitCode: 0, signal: null }, 'wait may be asked again')
  })

  test('wait without reading does not block the command', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await using session = await vm.execStream(t.command({ does: 'flood', bytes: 4_000_000 }))
    assert.equal((await t.within(20_000, 'the end of a command nobody reads', session.wait())).exitCode, 0)
  })

  test('a slow reader loses nothing', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await using session = await vm.execStream(t.command({ does: 'flood', bytes: 2_000_000 }))
    let bytes = 0
    let chunks = 0
    for await (const { data } of session.output) {
      bytes += data.length
      chunks += 1
      if (chunks % 8 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    assert.ok(bytes >= 1_990_000 && bytes <= 2_000_000, `got ${bytes} bytes`)
  })

  test('stdin is a sink with an end', { needs: [...needs, 'exec.stdin'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await using session = await vm.execStream(t.command({ does: 'echo' }), { stdin: true })
    const reading = bytesOf(session)
    await session.stdin.write('first ')
    await session.stdin.write(Buffer.from('sécond'))
    await session.stdin.end()
    assert.equal((await t.within(10_000, 'the echo', reading)).toString(), 'first sécond')
    assert.equal((await session.wait()).exitCode, 0)
  })

  test('writing waits for a reader that is slow', { needs: [...needs, 'exec.stdin'], limitMs: 60_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await using session = await vm.execStream(t.command({ does: 'echo' }), { stdin: true })
    const piece = new Uint8Array(64 * 1024)
    let accepted = 0
    const writing = (async () => {
      for (let i = 0; i < 800; i += 1) {
        await session.stdin.write(piece)
        accepted += piece.length
      }
      await session.stdin.end()
    })()
    writing.catch(() => {})
    let before = -1
    await t.until('the writer to stand still', async () => {
      if (accepted === before) return true
      before = accepted
      await new Promise((resolve) => setTimeout(resolve, 200))
      return false
    })
    assert.ok(accepted < 40 * 2 ** 20, `nobody reads, and ${accepted} bytes were taken: there is no backpressure`)
    const echoed = await bytesOf(session)
    await writing
    assert.equal(echoed.length, 800 * piece.length)
  })

  test('a terminal has a size, and one output', { needs: [...needs, 'exec.tty'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await using session = await vm.execStream(t.command({ does: 'size' }), { tty: { columns: 101, rows: 31 } })
    let text = ''
    let resized = false
    await t.within(
      15_000,
      'both sizes',
      (async () => {
        for await (const { source, data } of session.output) {
          assert.equal(source, 'console')
          text += Buffer.from(data).toString()
          if (!resized && /101 31/.test(text)) {
            resized = true
            await session.resize({ columns: 77, rows: 22 })
          }
          if (/77 22/.test(text)) break
        }
      })(),
    )
  })

  test('a signal reaches the command', { needs: [...needs, 'exec.kill'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await using session = await vm.execStream(t.command({ does: 'print', stdout: 'ready\n', idles: true }))
    for await (const _ of session.output) break
    await session.kill('SIGTERM')
    const end = await t.within(10_000, 'the end', session.wait())
    assert.ok(end.exitCode === 0 || end.signal === 'SIGTERM' || end.exitCode === 143, `got ${JSON.stringify(end)}`)
    await session.kill('SIGKILL')
  })

  test('dispose kills what still runs, with its children', { needs: [...needs, 'exec.kill'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const session = await vm.execStream(t.command({ does: 'tree' }))
    let text = ''
    for await (const { data } of session.output) {
      text += Buffer.from(data).toString()
      if (text.includes('\n')) break
    }
    await t.within(10_000, 'dispose', session[Symbol.asyncDispose]())
    await session[Symbol.asyncDispose]()
    await assertGone(t, vm, text)
  })

  test('ends or rejects when the machine dies', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await using session = await vm.execStream(t.command({ does: 'print', stdout: 'ready', idles: true }))
    const reading = bytesOf(session).then(
      () => undefined,
      (error: unknown) => error,
    )
    await vm.kill('SIGKILL')
    await vm.wait()
    const error = await t.within(10_000, 'the end of the stream', reading)
    if (error !== undefined)
      await rejects(() => Promise.reject(error), ['GUEST_ERROR', 'INVALID_STATE', 'CONFLICT', 'BACKEND_ERROR', 'NOT_FOUND', 'ABORTED'])
    const end = await t.within(
      10_000,
      'the end of the command',
      session.wait().then(
        (value) => value,
        (failure: unknown) =>
          rejects(() => Promise.reject(failure), ['GUEST_ERROR', 'INVALID_STATE', 'CONFLICT', 'BACKEND_ERROR', 'NOT_FOUND', 'ABORTED']),
      ),
    )
    if ('exitCode' in end) assert.notEqual(end.exitCode, 0)
  })

  test('writing after the end is an error or nothing, never a crash', { needs: [...needs, 'exec.stdin'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await using session = await vm.execStream(t.command({ does: 'exit', code: 0 }), { stdin: true })
    await session.wait()
    await t.within(
      15_000,
      'an answer',
      session.stdin.write('too late').catch(() => {}),
    )
    await t.within(
      15_000,
      'an answer',
      session.stdin.end().catch(() => {}),
    )
    await session.kill().catch((error: unknown) => rejects(() => Promise.reject(error), ['NOT_FOUND', 'INVALID_STATE']))
  })
}

async function bytesOf(session: ExecSession): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const { data } of session.output) chunks.push(data)
  return Buffer.concat(chunks)
}
