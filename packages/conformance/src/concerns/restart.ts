import assert from 'node:assert/strict'
import { all } from '../assertions.js'
import type { FullVM, Test } from '../tools.js'

/** Starting again by itself when it ends. */
export function restart(test: Test): void {
  const needs = ['restart', 'logs'] as const

  test('always: it runs again, until it is stopped', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.start({ does: 'print', stdout: 'run\n', code: 0 }, { restart: 'always' })
    await t.until('a second run', async () => (await runs(vm)) >= 2, 20_000)
    await vm.stop({ graceMs: t.ms(1000) })
    assert.equal((await vm.status()).state, 'stopped')
    const after = await runs(vm)
    await new Promise((resolve) => setTimeout(resolve, t.ms(400)))
    assert.deepEqual([await runs(vm), (await vm.status()).state], [after, 'stopped'], 'what was stopped must not come back')
  })

  test('on-failure: as often as it may, and then it is over', { needs, limitMs: 90_000 }, async (t) => {
    const vm = await t.start({ does: 'print', stdout: 'run\n', code: 3 }, { restart: { policy: 'on-failure', maxRetries: 2 } })
    await t.until('the last run to end', async () => (await runs(vm)) === 3 && (await vm.status()).state === 'stopped', 30_000)
    assert.equal((await vm.status()).exit?.code, 3)
  })

  test('on-failure: a success is the end', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.start({ does: 'print', stdout: 'run\n', code: 0 }, { restart: 'on-failure' })
    await t.until('the end', async () => (await vm.status()).state === 'stopped')
    assert.equal(await runs(vm), 1)
  })

  test('a machine that starts again and again can be deleted', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.start({ does: 'exit', code: 1 }, { restart: 'always' })
    await t.within(10_000, 'the delete', vm.delete({ force: true }))
    assert.equal((await t.mine()).length, 0)
  })
}

async function runs(vm: FullVM): Promise<number> {
  return (await all(vm.logs())).filter(({ text }) => text.startsWith('run')).length
}
