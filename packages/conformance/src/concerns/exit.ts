import assert from 'node:assert/strict'
import type { VMExit } from '@vmkit/core'
import type { Test, Tools } from '../tools.js'

const REASONS = ['exited', 'signalled', 'oom', 'guest-shutdown', 'guest-panic', 'lost', 'unknown']

/** Guarantee 8: what is known of the exit is exact, the rest is null. */
export function exit(test: Test): void {
  // Five machines, one after the other.
  test('wait gives the exit code', { limitMs: 90_000 }, async (t) => {
    for (const code of [0, 1, 7, 137, 255]) {
      const vm = await t.create({ does: 'exit', code })
      const waiting = vm.wait()
      await vm.start()
      const end = await t.within(20_000, `the exit with ${code}`, waiting)
      assertExit(t, end)
      assert.equal(end.code, code)
      assert.equal(end.signal, null, `exit ${code} is no signal, and must not be told as one`)
      assert.notEqual(end.oom, true)
      const status = await vm.status()
      assert.equal(status.state, 'stopped', 'a non-zero exit is `stopped`, not `failed`')
      assert.deepEqual(status.exit, end)
      assert.deepEqual((await vm.info()).exit, end)
      assert.deepEqual(await vm.wait(), end, 'wait after the end gives the same')
    }
  })

  test('wait does not resolve before the end', {}, async (t) => {
    const startedAt = performance.now()
    const vm = await t.start({ does: 'exit', code: 3, afterMs: 2000 })
    const { state } = await vm.status()
    // A host that stood still for so long may have seen its end already.
    if (performance.now() - startedAt < 1800) assert.equal(state, 'running')
    const end = await t.within(20_000, 'the exit', vm.wait())
    assert.equal(end.code, 3)
    const took = performance.now() - startedAt
    assert.ok(took > 1800, `wait resolved ${took} ms after the machine was made, which runs for 2000`)
    assert.equal((await vm.status()).state, 'stopped', 'when wait resolves the machine is stopped for everybody')
  })

  test('wait on a machine that never ran waits for its next exit', {}, async (t) => {
    const vm = await t.create({ does: 'exit', code: 5 })
    let done = false
    const waiting = vm.wait().then((end) => {
      done = true
      return end
    })
    await vm.status()
    assert.equal(done, false, 'it has not even started')
    await vm.start()
    assert.equal((await t.within(20_000, 'the exit', waiting)).code, 5)
  })

  test('ten waiters hear the same', {}, async (t) => {
    const vm = await t.create({ does: 'exit', code: 4, afterMs: 50 })
    const waiting = Promise.all(Array.from({ length: 10 }, () => vm.wait()))
    await vm.start()
    const ends = await t.within(20_000, 'the exit', waiting)
    for (const end of ends) assert.deepEqual(end, ends[0])
  })

  test('wait after a second start is about the second run', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.stop({ graceMs: t.ms(3000) })
    const firstEnd = (await vm.status()).exit
    await vm.start()
    let done = false
    const waiting = vm.wait().then((end) => {
      done = true
      return end
    })
    await vm.info()
    assert.equal(done, false, 'the second run goes on')
    await vm.kill('SIGKILL')
    const end = await t.within(20_000, 'the exit', waiting)
    assert.ok(end.at === null || firstEnd?.at === null || firstEnd?.at === undefined || end.at >= firstEnd.at)
    assert.notEqual(end.code, 0, 'the exit of the first run')
  })

  test('SIGKILL is told as what is known of it', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.kill('SIGKILL')
    const end = await t.within(20_000, 'the end', vm.wait())
    assertExit(t, end)
    assert.ok(end.code === null || end.code === 137, `code: expected null or the engine's own 137, got ${end.code}`)
    assert.ok(end.signal === null || end.signal === 'SIGKILL', `signal: got ${end.signal}`)
    assert.notEqual(end.oom, true, 'a kill is no lack of memory')
    assert.equal((await vm.status()).state, 'stopped')
  })

  test('a machine that ends itself by a signal', {}, async (t) => {
    const vm = await t.start({ does: 'die', signal: 'SIGKILL' })
    const end = await t.within(20_000, 'the end', vm.wait())
    if (end.code === 99) t.skip('the main process cannot signal itself (PID 1)')
    assertExit(t, end)
    assert.notEqual(end.code, 0)
    assert.ok(end.signal === null || end.signal === 'SIGKILL')
  })

  test('out of memory is true, or null where it is not known', { needs: ['limits.memory'] }, async (t) => {
    if (t.facts.isolation === 'vm') t.skip('a guest handles its own lack of memory (isolation `vm`)')
    const vm = await t.start({ does: 'hog' }, { memory: t.options.limits?.memory ?? '32MiB' })
    const end = await t.within(25_000, 'the end by lack of memory', vm.wait())
    assertExit(t, end)
    assert.ok(end.oom === true || end.oom === null, `oom: expected true or null, got ${end.oom}`)
    assert.notEqual(end.code, 0)
    if (end.oom) assert.equal(end.reason, 'oom')
  })

  // Five machines at a time, which may have one processor among them.
  test('an early start and end is not lost', { limitMs: 90_000 }, async (t) => {
    const machines = await Promise.all(Array.from({ length: 5 }, (_, i) => t.start({ does: 'exit', code: i + 1 })))
    const ends = await t.within(60_000, 'all exits', Promise.all(machines.map((vm) => vm.wait())))
    assert.deepEqual(
      ends.map(({ code }) => code),
      [1, 2, 3, 4, 5],
    )
  })
}

/** The parts of an exit agree with each other. */
function assertExit(t: Tools, end: VMExit): void {
  assert.ok(REASONS.includes(end.reason), `reason: got ${end.reason}`)
  for (const key of ['code', 'signal', 'oom', 'at'] as const) assert.notEqual(end[key], undefined, `${key}: what is not known is null`)
  assert.ok(end.code === null || (Number.isInteger(end.code) && end.code >= 0 && end.code <= 255), `code: got ${end.code}`)
  assert.ok(end.signal === null || /^SIG[A-Z0-9+-]+$/.test(end.signal), `signal: got ${end.signal}`)
  assert.ok(end.at === null || Math.abs(end.at - Date.now()) < t.ms(120_000), `at: expected epoch milliseconds, got ${end.at}`)
  assert.equal(end.reason === 'oom', end.oom === true)
  if (end.reason === 'signalled') assert.notEqual(end.signal, null)
  if (end.reason === 'exited') assert.notEqual(end.code, null)
}
