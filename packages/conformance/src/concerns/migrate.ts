import assert from 'node:assert/strict'
import { createManager } from '@vmkit/core'
import { rejects } from '../assertions.js'
import type { FullHandle, FullVM, Test, Tools } from '../tools.js'

/** To another backend of the same kind. A failure at any step leaves the source as it was and the target clean. */
export function migrate(test: Test): void {
  test('cold: it runs there, is gone here, and has what it had', {
    needs: ['migrate.cold'],
    hooks: ['createTarget'],
    limitMs: 120_000,
  }, async (t) => {
    const vm = await t.start({ does: 'idle' }, { labels: { kept: 'yes' } })
    const withFiles = vm.supports('files')
    if (withFiles) await vm.files.write('kit-file', 'carried')
    const there = await target(t)
    const { vm: moved, downtimeMs, totalMs, bytes } = await vm.migrate(there)
    t.undo(() => moved.delete({ force: true }).catch(() => {}))
    assert.equal(moved.name, vm.name)
    assert.equal((await moved.status()).state, 'running')
    assert.equal((await moved.info()).labels.kept, 'yes')
    assert.ok(downtimeMs > 0 && downtimeMs <= totalMs && bytes >= 0, `downtime ${downtimeMs}, total ${totalMs}, bytes ${bytes}`)
    if (withFiles) assert.equal(await (moved as FullVM).files.readText('kit-file'), 'carried')
    assert.equal((await t.mine()).length, 0, 'the source is deleted once the target runs')
    await rejects(vm.status(), 'NOT_FOUND')
    assert.deepEqual(
      (await there.list({ name: vm.name })).map(({ id }) => id),
      [moved.id],
    )
  })

  test('cold: one that was stopped stays stopped', { needs: ['migrate.cold'], hooks: ['createTarget'], limitMs: 120_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.stop({ graceMs: t.ms(3000) })
    const { vm: moved } = await vm.migrate(await target(t))
    t.undo(() => moved.delete({ force: true }).catch(() => {}))
    assert.ok(['stopped', 'created'].includes((await moved.status()).state))
  })

  test('live: it goes on running', { needs: ['migrate.live'], hooks: ['createTarget'], limitMs: 120_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const { vm: moved, downtimeMs, totalMs } = await vm.migrate(await target(t), { live: true })
    t.undo(() => moved.delete({ force: true }).catch(() => {}))
    assert.equal((await moved.status()).state, 'running')
    assert.ok(downtimeMs >= 0 && downtimeMs <= totalMs)
    assert.equal((await t.mine()).length, 0)
  })

  test('a name that is taken there leaves both as they were', {
    needs: ['migrate.cold'],
    hooks: ['createTarget'],
    limitMs: 120_000,
  }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const there = await target(t)
    const holder = await there.create(t.config({ does: 'idle' }, { name: vm.name }), { onDispose: 'delete' })
    await rejects(vm.migrate(there), 'ALREADY_EXISTS')
    assert.equal((await vm.status()).state, 'running', 'the source runs on')
    assert.equal((await holder.status()).state, 'created')
    assert.equal((await there.list({ name: vm.name })).length, 1)
  })

  test('a migration that is aborted leaves the source running and the target clean', {
    needs: ['migrate.cold'],
    hooks: ['createTarget'],
    limitMs: 120_000,
  }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const there = await target(t)
    await rejects(vm.migrate(there, { signal: AbortSignal.abort(new Error('no')) }), 'ABORTED')
    assert.equal((await vm.status()).state, 'running')
    assert.deepEqual(await there.list({ name: vm.name }), [])
  })
}

async function target(t: Tools): Promise<FullHandle> {
  const manager = createManager({ drivers: { target: (t.options.createTarget as NonNullable<typeof t.options.createTarget>)() } })
  t.undo(() => manager.close())
  const handle = manager.lookup('target') as unknown as FullHandle
  await handle.probe()
  return handle
}
