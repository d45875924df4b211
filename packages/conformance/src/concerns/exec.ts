import assert from 'node:assert/strict'
import { assertSoon, timed } from '../abort-at.js'
import { rejects } from '../assertions.js'
import { givenTime } from '../given-time.js'
import type { FullVM, Test, Tools } from '../tools.js'

/** Commands that are run to their end. */
export function exec(test: Test): void {
  const needs = ['exec'] as const

  test('gives exit code and output, each stream apart', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const done = await vm.exec(t.command({ does: 'print', stdout: 'out ü\n', stderr: 'err ✓\n', code: 7 }))
    assert.deepEqual(
      {
        exitCode: done.exitCode,
        signal: done.signal,
        stdout: done.stdout,
        stderr: done.stderr,
        timedOut: done.timedOut,
        truncated: done.truncated,
      },
      { exitCode: 7, signal: null, stdout: 'out ü\n', stderr: 'err ✓\n', timedOut: false, truncated: false },
    )
    assert.equal(Buffer.from(done.stdoutBytes).toString(), 'out ü\n')
    const silent = await vm.exec(t.command({ does: 'exit', code: 0 }))
    assert.deepEqual([silent.exitCode, silent.stdout, silent.stderr], [0, '', ''])
    assert.equal((await vm.status()).state, 'running', 'the end of a command is not the end of the machine')
  })

  test('every exit code comes through', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    for (const code of [0, 1, 2, 126, 127, 128, 255]) assert.equal((await vm.exec(t.command({ does: 'exit', code }))).exitCode, code)
  })

  test('arguments arrive as they are', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const values = [
      '',
      ' ',
      'a b',
      '"',
      "'",
      '$HOME',
      '`id`',
      '$(id)',
      ';',
      '&&',
      '|',
      '*',
      '\\',
      '\\n',
      '\n',
      '-',
      '--',
      '-rf',
      ',',
      '=',
      '%s',
      'ü✓𝄞',
      '{}',
    ]
    const { stdout } = await vm.exec(t.command({ does: 'args', values }))
    assert.deepEqual(stdout.split('\0').slice(0, -1), values)
  })

  test('env, of the machine and of the call', { needs }, async (t) => {
    const honoured = t.facts.fields.includes('env')
    const vm = await t.start({ does: 'idle' }, honoured ? { env: { KIT_MACHINE: 'from the machine' } } : {})
    const value = 'it\'s $HOME; `x` "ü"\n two'
    assert.equal((await vm.exec(t.command({ does: 'env', name: 'KIT_CALL' }), { env: { KIT_CALL: value } })).stdout, value)
    if (honoured) assert.equal((await vm.exec(t.command({ does: 'env', name: 'KIT_MACHINE' }))).stdout, 'from the machine')
    assert.equal((await vm.exec(t.command({ does: 'env', name: 'KIT_CALL' }))).stdout, '', 'one call must not change the next')
  })

  test('workdir', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    assert.equal((await vm.exec(t.command({ does: 'pwd' }), { workdir: '/' })).stdout, '/\n')
    const missing = await vm.exec(t.command({ does: 'pwd' }), { workdir: '/nonexistent/vmkit' }).then(
      (result) => result,
      (error: unknown) => rejects(() => Promise.reject(error), ['INVALID_CONFIG', 'NOT_FOUND', 'GUEST_ERROR', 'BACKEND_ERROR']),
    )
    if ('exitCode' in missing) assert.notEqual(missing.exitCode, 0, 'a workdir that is not there must not be ignored')
  })

  test('a program that is not there is an error or an exit of 126 or 127', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const result = await vm.exec(['/nonexistent/vmkit-no-such-program']).then(
      (value) => value,
      (error: unknown) => rejects(() => Promise.reject(error), ['NOT_FOUND', 'GUEST_ERROR', 'INVALID_CONFIG', 'BACKEND_ERROR']),
    )
    if ('exitCode' in result) assert.ok(result.exitCode === 126 || result.exitCode === 127, `got ${result.exitCode}`)
  })

  test('keeps what the cap allows and says so', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const capped = await vm.exec(t.command({ does: 'flood', bytes: 300_000 }), { maxOutputBytes: 1000 })
    assert.equal(capped.stdoutBytes.length, 1000)
    assert.equal(capped.truncated, true)
    assert.equal(capped.exitCode, 0, 'the cap must not end the command')
    const whole = await vm.exec(t.command({ does: 'flood', bytes: 300_000 }))
    assert.equal(whole.truncated, false)
    assert.ok(whole.stdoutBytes.length >= 299_000, `got ${whole.stdoutBytes.length} bytes`)
  })

  test('several at a time do not mix', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const results = await Promise.all(
      Array.from({ length: 6 }, (_, i) => vm.exec(t.command({ does: 'print', stdout: `out ${i}`, stderr: `err ${i}`, code: i }))),
    )
    for (const [i, { stdout, stderr, exitCode }] of results.entries())
      assert.deepEqual([stdout, stderr, exitCode], [`out ${i}`, `err ${i}`, i])
  })

  test('stdin is written, closed, and exact', { needs: ['exec', 'exec.stdin'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const text = 'line ü\n\0binary\r\n'.repeat(5000)
    const result = await vm.exec(t.command({ does: 'echo' }), { stdin: text })
    assert.equal(result.exitCode, 0)
    assert.ok(result.stdout === text, `stdin came back changed: ${result.stdout.length} characters for ${text.length}`)
    assert.equal((await vm.exec(t.command({ does: 'echo' }), { stdin: '' })).stdout, '')
  })

  test('a command that does not read its stdin still ends', { needs: ['exec', 'exec.stdin'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const result = await t.within(
      15_000,
      'the end of the command',
      vm.exec(t.command({ does: 'exit', code: 3 }), { stdin: 'x'.repeat(1_000_000) }),
    )
    assert.equal(result.exitCode, 3)
  })

  test('without stdin a command reads its end at once', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    assert.equal((await t.within(10_000, 'the end of the command', vm.exec(t.command({ does: 'echo' })))).stdout, '')
  })

  test('a timeout kills the command and its children', { needs: ['exec', 'exec.kill'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    // A machine that still boots takes commands, and starts them when it is up: that is not the timeout's time.
    await vm.exec(t.command({ does: 'exit', code: 0 }))
    // Time enough for it to start its children and to tell of them: some that end at once say how busy this host is.
    const timeoutMs = Math.max(t.ms(1500), 3000) + 4 * (await timed(() => vm.exec(t.command({ does: 'exit', code: 0 }))))
    const startedAt = performance.now()
    const result = await vm.exec(t.command({ does: 'tree' }), { timeoutMs })
    assert.equal(result.timedOut, true)
    assert.ok(performance.now() - startedAt < timeoutMs + t.ms(10_000), 'it ended long after its timeout')
    assert.notEqual(result.exitCode, 0)
    await assertGone(t, vm, result.stdout)
  })

  test('kill takes the children too, and abort rejects within a second', {
    needs: ['exec', 'exec.stream', 'exec.kill'],
  }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const session = await vm.execStream(t.command({ does: 'tree' }))
    let pids = ''
    for await (const { data } of session.output) {
      pids += Buffer.from(data).toString()
      if (pids.includes('\n')) break
    }
    await session.kill()
    await t.within(15_000, 'the end of a killed session', session.wait())
    await assertGone(t, vm, pids)

    const controller = new AbortController()
    const running = vm.exec(t.command({ does: 'stubborn' }), { signal: controller.signal })
    using sinceAbort = givenTime()
    controller.abort(new Error('enough'))
    await rejects(running, 'ABORTED')
    assertSoon(sinceAbort, 'the abort')
  })

  test('is refused when the machine does not run', { needs }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await rejects(vm.exec(t.command({ does: 'exit', code: 0 })), 'INVALID_STATE')
    await vm.start()
    await vm.stop({ graceMs: t.ms(5000) })
    await rejects(vm.exec(t.command({ does: 'exit', code: 0 })), 'INVALID_STATE')
  })

  test('ends when the machine ends', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const running = vm.exec(t.command({ does: 'stubborn' })).then(
      ({ exitCode }) => exitCode,
      (error: unknown) => error,
    )
    await t.until('the command to run, or the machine to be ready', async () => (await vm.status()).state === 'running')
    await vm.stop({ graceMs: 100 })
    const end = await t.within(10_000, 'the end of the command', running)
    if (end instanceof Error)
      await rejects(() => Promise.reject(end), ['GUEST_ERROR', 'INVALID_STATE', 'CONFLICT', 'BACKEND_ERROR', 'NOT_FOUND'])
    else assert.notEqual(end, 0)
  })

  test('bad requests are refused before anything runs', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await rejects(vm.exec([]), 'INVALID_CONFIG')
    await rejects(vm.exec(['sh\0']), 'INVALID_CONFIG')
    await rejects(vm.exec(['true'], { workdir: 'relative' }), 'INVALID_CONFIG')
    await rejects(vm.exec(['true'], { env: { 'A=B': '' } }), 'INVALID_CONFIG')
    await rejects(vm.exec(['true'], { user: '-u0' }), 'INVALID_CONFIG')
  })
}

/** `text`: the line that the `tree` workload writes. */
export async function assertGone(t: Tools, vm: FullVM, text: string): Promise<void> {
  const pids = text.trim().split(/\s+/).map(Number)
  assert.equal(pids.length, 3, `expected three process ids, got ${JSON.stringify(text)}`)
  await t.until('the end of the whole tree in the guest', async () => (await vm.exec(t.command({ does: 'alive', pids }))).exitCode === 1)
}
