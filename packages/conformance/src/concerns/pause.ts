import assert from 'node:assert/strict'
import { all } from '../assertions.js'
import type { FullVM, Test } from '../tools.js'

/** Freezing and thawing. What is legal in `paused` is tested with the other states. */
export function pause(test: Test): void {
  const needs = ['pause'] as const

  test('pause and resume, twice each', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.pause()
    await vm.pause()
    assert.equal((await vm.status()).state, 'paused')
    assert.equal((await t.driver.list({ name: vm.name }))[0]?.state, 'paused')
    await vm.resume()
    await vm.resume()
    assert.equal((await vm.status()).state, 'running')
  })

  test('a paused machine does nothing, and goes on where it was', { needs: ['pause', 'logs'] }, async (t) => {
    const vm = await t.start({ does: 'tick', everyMs: 20 })
    await vm.waitFor({ log: 'tick 2', timeoutMs: t.ms(20_000) })
    await vm.pause()
    // What was written before the freeze may still be on its way through the engine.
    let before = -1
    await t.until('the log to stand still', async () => {
      const now = await ticks(vm)
      const still = now === before
      before = now
      if (!still) await new Promise((resolve) => setTimeout(resolve, 250))
      return still
    })
    assert.equal((await vm.status()).state, 'paused')
    await vm.resume()
    await vm.waitFor({ log: `tick ${before + 3}`, timeoutMs: t.ms(20_000) })
  })

  test('a paused machine can be stopped, and deleted with force', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.pause()
    await t.within(10_000, 'the stop of a paused machine', vm.stop({ graceMs: 500 }))
    assert.equal((await vm.status()).state, 'stopped')
    const other = await t.start({ does: 'idle' })
    await other.pause()
    await t.within(10_000, 'the delete of a paused machine', other.delete({ force: true }))
    assert.deepEqual(await t.driver.list({ name: other.name }), [])
  })

  test('wait goes on through a pause', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.pause()
    let done = false
    const waiting = vm.wait().then((end) => {
      done = true
      return end
    })
    await vm.info()
    assert.equal(done, false, 'what is paused has not ended')
    await vm.resume()
    await vm.info()
    assert.equal(done, false, 'what goes on has not ended')
    await vm.stop({ graceMs: t.ms(3000) })
    assert.deepEqual(await t.within(15_000, 'the exit', waiting), (await vm.status()).exit)
  })
}

async function ticks(vm: FullVM): Promise<number> {
  return (await all(vm.logs())).filter(({ text }) => text.startsWith('tick ')).length
}
