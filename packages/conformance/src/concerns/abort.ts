import assert from 'node:assert/strict'
import { aborter, assertSoon, timed } from '../abort-at.js'
import { all, outcome, rejects } from '../assertions.js'
import { givenTime } from '../given-time.js'
import type { FullVM, Test, Tools } from '../tools.js'

const ROUNDS = 8

/** Guarantee 6: an abort or a deadline is answered within a second, whenever it comes, and leaves the backend consistent. */
export function abort(test: Test): void {
  test('a signal that has fired already stops the call before it does anything', {}, async (t) => {
    const signal = AbortSignal.abort(new Error('never mind'))
    await rejects(t.driver.create(t.config({ does: 'idle' }), { signal }), 'ABORTED')
    assert.equal((await t.mine()).length, 0)
    const vm = await t.create({ does: 'idle' })
    for (const [what, call] of Object.entries(calls(t, vm, signal))) await rejects(call(), 'ABORTED', what)
    assert.equal((await vm.status()).state, 'created')
  })

  test('create that is aborted at any moment leaves nothing', { limitMs: 60_000 }, async (t) => {
    const aborted = aborter(t, await timed(async () => (await t.create({ does: 'idle' })).delete()))
    for (let round = 0; round < ROUNDS; round += 1) {
      const config = t.config({ does: 'idle' })
      const result = await aborted((signal) => t.driver.create(config, { signal, onDispose: 'detach' }))
      if (result === 'ok') {
        assert.equal((await (await t.driver.get(config.name as string)).status()).state, 'created')
        continue
      }
      assert.equal(result, 'ABORTED')
      await t.until('an aborted create to leave nothing', async () => (await t.driver.list({ name: config.name })).length === 0)
      const again = await t.until('the name to be free', async () => {
        const second = await outcome(t.driver.create(config, { onDispose: 'detach' }))
        assert.ok(second === 'ok' || second === 'ALREADY_EXISTS' || second === 'CONFLICT', second)
        return second === 'ok'
      })
      assert.ok(again)
    }
    for (const { id } of await t.mine()) await (await t.driver.get(id)).delete({ force: true })
    await t.assertNothingLeft()
  })

  test('start that is aborted at any moment can be tried again', { limitMs: 60_000 }, async (t) => {
    const probe = await t.create({ does: 'idle' })
    const aborted = aborter(t, await timed(() => probe.start()))
    for (let round = 0; round < ROUNDS; round += 1) {
      const vm = await t.create({ does: 'idle' })
      const result = await aborted((signal) => vm.start({ signal }))
      assert.ok(result === 'ok' || result === 'ABORTED', result)
      const state = await t.until('the state to settle', async () => {
        const { state: now } = await vm.status()
        return now === 'starting' || now === 'stopping' ? undefined : now
      })
      assert.ok(['created', 'stopped', 'running'].includes(state), `after an aborted start it is ${state}`)
      await vm.start()
      assert.equal((await vm.status()).state, 'running')
      await vm.delete({ force: true })
    }
  })

  test('what waits is let go of within a second', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const controller = new AbortController()
    const { signal } = controller
    const waiting: Record<string, Promise<unknown>> = {
      wait: vm.wait({ signal }),
      waitFor: vm.waitFor({ until: () => false, signal, timeoutMs: t.ms(60_000) }),
      events: t.driver.events({ signal }).next(),
    }
    if (vm.supports('logs')) waiting['logs with follow'] = all(vm.logs({ follow: true, signal }))
    if (vm.supports('exec')) waiting.exec = vm.exec(t.command({ does: 'idle' }), { signal })
    for (const promise of Object.values(waiting)) promise.catch(() => {})
    await vm.info()
    using sinceAbort = givenTime()
    controller.abort(new Error('enough'))
    for (const [what, promise] of Object.entries(waiting)) await rejects(t.within(15_000, `the end of ${what}`, promise), 'ABORTED', what)
    assertSoon(sinceAbort, 'the abort')
    assert.equal((await vm.status()).state, 'running')
  })

  test('deadlines end in TIMEOUT', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    using sinceStart = givenTime()
    await rejects(vm.wait({ timeoutMs: 80 }), 'TIMEOUT')
    await rejects(vm.waitFor({ until: () => false, timeoutMs: 80 }), 'TIMEOUT')
    assertSoon(sinceStart, 'two deadlines of 80 ms', 2200)
    assert.equal((await vm.status()).state, 'running')
  })

  test('a stop that is aborted leaves a machine that can be stopped', {}, async (t) => {
    const vm = await t.start({ does: 'stubborn' })
    if (vm.supports('logs')) await vm.waitFor({ log: 'ready', timeoutMs: t.ms(20_000) })
    using sinceStop = givenTime()
    await rejects(vm.stop({ graceMs: 30_000, timeoutMs: 200 }), 'TIMEOUT')
    assertSoon(sinceStop, 'a deadline of 200 ms', 1200)
    await t.within(10_000, 'the stop', vm.stop({ graceMs: 100 }))
    assert.equal((await vm.status()).state, 'stopped')
  })

  test('a pull that is aborted ends within a second', { needs: ['images'], hooks: ['images'] }, async (t) => {
    const reference = t.options.images?.reference as string
    const result = await aborter(t, 50)((signal) => t.driver.images.pull(reference, { policy: 'always', signal }))
    assert.ok(result === 'ok' || result === 'ABORTED', result)
    await t.driver.images.pull(reference, { policy: 'missing' })
  })
}

function calls(t: Tools, vm: FullVM, signal: AbortSignal): Record<string, () => Promise<unknown>> {
  return {
    start: () => vm.start({ signal }),
    stop: () => vm.stop({ signal }),
    kill: () => vm.kill('SIGKILL', { signal }),
    delete: () => vm.delete({ signal }),
    status: () => vm.status({ signal }),
    info: () => vm.info({ signal }),
    metrics: () => vm.metrics({ signal }),
    wait: () => vm.wait({ signal }),
    list: () => t.driver.list({}, { signal }),
    ...(vm.supports('exec') ? { exec: () => vm.exec(t.command({ does: 'exit', code: 0 }), { signal }) } : {}),
    ...(vm.supports('logs') ? { logs: () => all(vm.logs({ signal })) } : {}),
    ...(vm.supports('files') ? { files: () => vm.files.read('x', { signal }) } : {}),
  }
}
