import assert from 'node:assert/strict'
import { LABEL } from '../kit.js'
import type { Test, Tools } from '../tools.js'

/** What nobody will delete any more is swept; what was made to stay, stays. */
export function sweep(test: Test): void {
  test('machines of a process that is gone are swept, those that were let go of stay', { durability: 'host' }, async (t) => {
    const child = await t.child()
    const config = () => t.config({ does: 'idle' })
    const left = await child.ask<string>({ op: 'create', config: config(), onDispose: 'delete' })
    const running = await child.ask<string>({ op: 'create', config: config(), onDispose: 'delete' })
    await child.ask({ op: 'start', vm: running })
    const detached = await child.ask<string>({ op: 'create', config: config(), onDispose: 'detach' })
    assert.deepEqual(await swept(t, [left, running, detached]), [], 'its owner lives')
    await child.crash()
    assert.deepEqual((await swept(t, [left, running, detached])).sort(), [left, running].sort())
    assert.deepEqual(
      (await t.mine()).map(({ id }) => id),
      [detached],
    )
    assert.deepEqual(await swept(t, [detached]), [])
  })

  test('a machine of this process is not swept', {}, async (t) => {
    const vm = await t.driver.create(t.config({ does: 'idle' }))
    assert.deepEqual(await swept(t, [vm.id]), [])
    assert.equal((await vm.status()).state, 'created')
    await vm.delete()
  })

  test('a ttl that is over is swept, also when it was let go of', {}, async (t) => {
    const { manager, driver } = t.second()
    const later = await driver.create(t.config({ does: 'idle' }, { ttl: '1h' }), { onDispose: 'detach' })
    const over = await driver.create(t.config({ does: 'idle' }, { ttl: '300ms' }), { onDispose: 'detach' })
    // At once: a manager that is open when the ttl is over deletes the machine itself, and leaves nothing to sweep.
    await manager.close()
    const gone = await t.until('the ttl to be over and swept', async () => (await swept(t, [over.id, later.id])).length > 0)
    assert.ok(gone)
    assert.deepEqual(
      (await t.mine()).map(({ id }) => id),
      [later.id],
    )
  })

  test('the manager itself deletes what its ttl is over', {}, async (t) => {
    await t.driver.create(t.config({ does: 'idle' }, { ttl: 60 }), { onDispose: 'detach' })
    await t.until('the machine to be deleted', async () => (await t.mine()).length === 0)
  })

  test('the labels of the owner do not show', {}, async (t) => {
    const vm = await t.create({ does: 'idle' })
    assert.deepEqual(Object.keys((await vm.info()).labels), [LABEL])
    assert.deepEqual(Object.keys((await t.mine())[0]?.labels ?? {}), [LABEL])
  })
}

/** Sweeps, and says which of these machines went. Those of others are the business of their tests. */
async function swept(t: Tools, ids: string[]): Promise<string[]> {
  const { manager } = t.second()
  const all = await manager.sweep({ driver: 'subject' })
  for (const { reason } of all) assert.match(reason, /\S{2,}/)
  return all.map(({ id }) => id).filter((id) => ids.includes(id))
}
