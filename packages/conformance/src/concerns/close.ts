import assert from 'node:assert/strict'
import { rejects } from '../assertions.js'
import type { Test } from '../tools.js'

/** Guarantee 12: after `close()` nothing holds the process. */
export function close(test: Test): void {
  test('a script that has closed its manager ends by itself', { hooks: ['child'] }, async (t) => {
    const child = await t.child()
    const vm = await child.ask<string>({ op: 'create', config: t.config({ does: 'tick', everyMs: 50 }) })
    await child.ask({ op: 'start', vm })
    await child.ask({ op: 'use', vm })
    await child.ask({ op: 'list' })
    await child.ask({ op: 'close' })
    assert.equal(await child.finish(), 0)
  })

  test('a script that has only asked ends by itself', { hooks: ['child'] }, async (t) => {
    const child = await t.child()
    await child.ask({ op: 'list' })
    await child.ask({ op: 'close' })
    assert.equal(await child.finish(), 0)
  })

  test('close ends what waits, and refuses what comes later', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const { manager, driver } = t.second()
    const other = await driver.get(vm.id)
    const waiting = other.wait()
    waiting.catch(() => {})
    await other.status()
    await t.within(15_000, 'close', manager.close())
    await rejects(t.within(15_000, 'the end of wait', waiting), 'ABORTED')
    await rejects(other.status(), 'ABORTED')
    await rejects(driver.list(), 'ABORTED')
    await manager.close()
    assert.equal((await vm.status()).state, 'running', 'closing a manager is nothing to a machine that was only looked up')
  })

  test('a driver may be closed before it was used, and twice', {}, async (t) => {
    const driver = t.raw()
    await driver.close()
    await driver.close()
  })

  test('closing does what onDispose says', {}, async (t) => {
    const { manager, driver } = t.second()
    await driver.create(t.config({ does: 'idle' }), { onDispose: 'delete' })
    const stays = await driver.create(t.config({ does: 'idle' }), { onDispose: 'detach' })
    const stops = await driver.create(t.config({ does: 'idle' }), { onDispose: 'stop' })
    await stops.start()
    await manager.close()
    assert.deepEqual(
      (await t.mine()).map(({ id, state }) => `${id} ${state}`).sort(),
      [`${stays.id} created`, `${stops.id} stopped`].sort(),
    )
  })
}
