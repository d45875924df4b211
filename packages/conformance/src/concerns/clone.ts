import assert from 'node:assert/strict'
import { aborter, timed } from '../abort-at.js'
import { rejects } from '../assertions.js'
import type { FullVM, Test } from '../tools.js'

/** New machines from a snapshot. */
export function clone(test: Test): void {
  const needs = ['snapshot.disk', 'clone'] as const

  test('a clone has the files and its own life', { needs: [...needs, 'files'], limitMs: 90_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.files.write('kit-file', 'original')
    await vm.snapshot('base')
    const name = t.name()
    const copy = (await vm.clone('base', { name, onDispose: 'detach' })) as FullVM
    assert.notEqual(copy.id, vm.id)
    assert.equal(copy.name, name)
    assert.equal((await copy.status()).state, 'created')
    await copy.start()
    assert.equal(await copy.files.readText('kit-file'), 'original')
    await copy.files.write('kit-file', 'changed in the copy')
    assert.equal(await vm.files.readText('kit-file'), 'original')
  })

  test('the base may go before its clones', { needs: [...needs, 'files'], limitMs: 90_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.files.write('kit-file', 'from the base')
    await vm.snapshot('base')
    const copies = [
      (await vm.clone('base', { name: t.name(), onDispose: 'detach' })) as FullVM,
      (await vm.clone('base', { name: t.name(), onDispose: 'detach' })) as FullVM,
    ]
    await vm.delete({ force: true })
    for (const copy of copies) {
      await copy.start()
      assert.equal(await copy.files.readText('kit-file'), 'from the base')
      await copy.delete({ force: true })
    }
    assert.equal((await t.mine()).length, 0)
  })

  test('a taken name is ALREADY_EXISTS, an unknown tag NOT_FOUND, and nothing is made', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await vm.snapshot('base')
    await rejects(vm.clone('base', { name: vm.name }), 'ALREADY_EXISTS')
    await rejects(vm.clone('none', { name: t.name() }), 'NOT_FOUND')
    await rejects(vm.clone('../x', { name: t.name() }), 'INVALID_CONFIG')
    assert.equal((await t.mine()).length, 1)
  })

  test('an aborted clone leaves nothing', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await vm.snapshot('base')
    const first = t.name()
    const aborted = aborter(t, await timed(() => vm.clone('base', { name: first, onDispose: 'detach' })))
    for (let round = 0; round < 5; round += 1) {
      const name = t.name()
      const result = await aborted((signal) => vm.clone('base', { name, onDispose: 'detach', signal }))
      if (result === 'ok') continue
      assert.equal(result, 'ABORTED')
      await t.until('an aborted clone to leave nothing', async () => (await t.driver.list({ name })).length === 0)
    }
  })

  test('a clone with memory runs', { needs: ['snapshot.memory', 'clone', 'clone.memory'], limitMs: 90_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.snapshot('warm', { memory: true })
    const copy = (await vm.clone('warm', { name: t.name(), onDispose: 'detach' })) as FullVM
    assert.equal((await copy.status()).state, 'running')
    assert.equal((await vm.status()).state, 'running')
  })
}
