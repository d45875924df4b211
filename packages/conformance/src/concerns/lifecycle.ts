import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { assertSoon } from '../abort-at.js'
import { first, rejects } from '../assertions.js'
import { givenTime } from '../given-time.js'
import type { FullVM, Test, Tools } from '../tools.js'

/** start, stop, kill, restart, delete: the way through the states, and what is left after it. */
export function lifecycle(test: Test): void {
  test('start, stop, start again, delete', {}, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await vm.start()
    const running = await vm.info()
    assert.equal(running.state, 'running')
    assert.equal(running.exit === undefined || running.exit === null, true, 'a first run that goes on has no exit')
    assert.ok(running.startedAt !== null && Math.abs(running.startedAt - Date.now()) < t.ms(60_000), `startedAt: got ${running.startedAt}`)
    assert.ok(running.pid === null || running.pid > 0)
    await vm.stop({ graceMs: t.ms(5000) })
    const stopped = await vm.status()
    assert.equal(stopped.state, 'stopped')
    assert.ok(stopped.exit, 'a stopped machine has an exit')
    await vm.start()
    assert.equal((await vm.status()).state, 'running')
    await vm.stop({ graceMs: t.ms(5000) })
    await vm.delete()
    await rejects(vm.status(), 'NOT_FOUND')
    assert.equal((await t.mine()).length, 0)
  })

  test('a machine that ignores the stop signal is killed after its grace', {}, async (t) => {
    const vm = await t.start({ does: 'stubborn' })
    await ready(t, vm)
    const startedAt = performance.now()
    using sinceStop = givenTime()
    await vm.stop({ graceMs: 300 })
    const took = performance.now() - startedAt
    assertSoon(sinceStop, 'a stop with a grace of 300 ms', t.ms(6000))
    const { state, exit } = await vm.status()
    assert.equal(state, 'stopped')
    assert.ok(took >= 250, `stop did not give it the grace: ${took} ms`)
    assert.notEqual(exit?.code, 0, 'a killed machine did not exit with 0')
    assert.ok(exit?.signal === 'SIGKILL' || exit?.signal === null, `signal: expected SIGKILL, or null where unknown, got ${exit?.signal}`)
  })

  test('one that obeys does not wait for its grace', {}, async (t) => {
    const vm = await t.start({ does: 'print', stdout: 'ready\n', idles: true })
    await ready(t, vm)
    using sinceStop = givenTime()
    await vm.stop({ graceMs: t.ms(20_000) })
    assertSoon(sinceStop, 'the stop of one that was gone', t.ms(10_000))
  })

  test('the grace of its config counts where the call names none', {}, async (t) => {
    if (!t.facts.fields.includes('stop')) t.skip('the driver does not honour `stop` (its refusal is tested)')
    const vm = await t.start({ does: 'stubborn' }, { stop: { graceMs: '400ms' } })
    await ready(t, vm)
    const startedAt = performance.now()
    using sinceStop = givenTime()
    await vm.stop()
    const took = performance.now() - startedAt
    assertSoon(sinceStop, 'a stop with a grace of 400 ms', t.ms(6000))
    assert.ok(took >= 350, `stop took ${took} ms with a grace of 400 ms`)
  })

  test('the stop signal of its config counts', {}, async (t) => {
    if (!t.facts.fields.includes('stop')) t.skip('the driver does not honour `stop` (its refusal is tested)')
    const vm = await t.start({ does: 'stubborn' }, { stop: { signal: 'SIGKILL', graceMs: 20_000 } })
    await ready(t, vm)
    await t.within(8000, 'the stop by SIGKILL, without the grace', vm.stop())
    assert.equal((await vm.status()).state, 'stopped')
  })

  test('kill sends one signal and nothing more', {}, async (t) => {
    const vm = await t.start({ does: 'stubborn' })
    await ready(t, vm)
    await vm.kill('SIGTERM')
    assert.equal((await vm.status()).state, 'running', 'it ignores SIGTERM, so it must go on')
    await vm.kill('SIGKILL')
    await t.within(10_000, 'the end after SIGKILL', vm.wait())
    assert.equal((await vm.status()).state, 'stopped')
  })

  test('a signal that is none is refused', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await rejects(vm.kill('SIGNOSUCH'), ['INVALID_CONFIG', 'UNSUPPORTED'])
    await rejects(vm.kill('-9; reboot'), 'INVALID_CONFIG')
    assert.equal((await vm.status()).state, 'running')
  })

  test('restart runs it anew', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const before = await vm.info()
    await vm.restart({ graceMs: t.ms(5000) })
    const after = await vm.info()
    assert.equal(after.state, 'running')
    assert.equal(after.id, before.id)
    assert.ok((after.startedAt ?? 0) >= (before.startedAt ?? 0))
  })

  test('the whole tree of processes ends with it', { needs: ['logs'] }, async (t) => {
    if (t.facts.isolation !== 'process') t.skip(`its processes are not this host's (isolation \`${t.facts.isolation}\`)`)
    for (const end of ['stop', 'delete'] as const) {
      const vm = await t.start({ does: 'tree' })
      const { text } = await t.within(10_000, 'the line with the process ids', first(vm.logs({ follow: true })))
      const pids = text.split(' ').map(Number)
      assert.equal(pids.length, 3)
      assert.ok(pids.every(lives), 'the tree must be there first')
      if (end === 'stop') await vm.stop({ graceMs: 100 })
      else await vm.delete({ force: true })
      assert.deepEqual(pids.filter(lives), [], `after ${end}`)
    }
  })

  test('a program that is not there never counts as running', {}, async (t) => {
    if (!t.facts.fields.includes('command')) t.skip('the driver does not honour `command`')
    let vm: FullVM
    try {
      vm = await t.create({ does: 'idle' }, { command: ['/nonexistent/vmkit-no-such-program'] })
    } catch (error) {
      await rejects(() => Promise.reject(error), ['INVALID_CONFIG', 'NOT_FOUND', 'GUEST_ERROR', 'BACKEND_ERROR'])
      assert.equal((await t.mine()).length, 0)
      return
    }
    const refused = await vm.start().then(
      () => undefined,
      (error: unknown) =>
        rejects(() => Promise.reject(error), ['INVALID_CONFIG', 'NOT_FOUND', 'GUEST_ERROR', 'BACKEND_ERROR', 'PERMISSION_DENIED']),
    )
    if (refused) {
      assert.match(refused.message, /vmkit-no-such-program|No such file|not found/i, 'the error must say what was wrong')
    } else {
      // A guest that boots and then fails to run it tells by its exit.
      const exit = await t.within(20_000, 'the end', vm.wait())
      assert.notEqual(exit.code, 0)
    }
    assert.notEqual((await vm.status()).state, 'running')
    await vm.delete()
  })

  test('delete of a running machine needs force', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const error = await rejects(vm.delete(), 'INVALID_STATE')
    assert.match(error.message, /running/)
    assert.equal((await vm.status()).state, 'running')
    await vm.delete({ force: true })
    await rejects(vm.status(), 'NOT_FOUND')
  })

  test('stop interrupts nothing but a start, and wins', {}, async (t) => {
    const vm = await t.create({ does: 'idle' })
    const starting = vm.start().then(
      () => 'ok' as const,
      (error: unknown) => error,
    )
    await vm.stop({ graceMs: t.ms(2000) })
    const started = await starting
    if (started !== 'ok') await rejects(() => Promise.reject(started), ['ABORTED', 'CONFLICT', 'INVALID_STATE'], 'the interrupted start')
    assert.ok(['created', 'stopped'].includes((await vm.status()).state), `after stop it is ${(await vm.status()).state}`)
    await vm.start()
    assert.equal((await vm.status()).state, 'running')
  })

  test('await using deletes what it made', {}, async (t) => {
    let id = ''
    {
      await using vm = await t.driver.create(t.config({ does: 'idle' }))
      id = vm.id
      await vm.start()
    }
    await rejects(t.driver.get(id), 'NOT_FOUND')
    assert.equal((await t.mine()).length, 0)
  })
}

/** Where there are logs, waits until the main process has said so: before that it may not have set up its signals. */
async function ready(t: Tools, vm: FullVM): Promise<void> {
  if (vm.supports('logs')) await vm.waitFor({ log: 'ready', timeoutMs: t.ms(20_000) })
  else t.skip(`it cannot be seen when the machine is ready; logs: ${vm.missing.logs}`)
}

/** A zombie is dead; that nobody has collected it yet is its parent's business (proc_pid_stat(5), field 3). */
function lives(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}
