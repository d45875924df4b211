import assert from 'node:assert/strict'
import { all, rejects } from '../assertions.js'
import type { FullVM, Test, Tools } from '../tools.js'

/** Guarantee 4: an id names one incarnation, and only machines of vmkit. */
export function identity(test: Test): void {
  test('a name and an id lead to the same machine, in any manager', {}, async (t) => {
    const vm = await t.create({ does: 'idle' }, { labels: { here: 'yes' } })
    const { driver } = t.second()
    for (const key of [vm.id, vm.name]) {
      const found = await driver.get(key)
      assert.equal(found.id, vm.id)
      assert.equal(found.name, vm.name)
      assert.equal((await found.info()).labels.here, 'yes')
    }
    await (await driver.get(vm.name)).start()
    assert.equal((await vm.status()).state, 'running')
  })

  test('every call with the id of a deleted machine is NOT_FOUND', {}, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await vm.delete()
    await assertGone(t, vm)
  })

  test('an old id refuses to act on a new machine of the same name', {}, async (t) => {
    const name = t.name()
    const old = await t.create({ does: 'idle' }, { name })
    await old.delete()
    const current = await t.start({ does: 'idle' }, { name })
    assert.notEqual(current.id, old.id)
    await assertGone(t, old)
    assert.equal((await current.status()).state, 'running', 'the new one must not notice')
    assert.equal((await t.driver.get(name)).id, current.id)
  })

  test('ids and names that never were are NOT_FOUND', {}, async (t) => {
    for (const key of ['kit-no-such-machine', '0'.repeat(64), '00000000-0000-4000-8000-000000000000'])
      await rejects(t.driver.get(key), 'NOT_FOUND', key)
  })

  test('a part of an id or of a name is not the machine', {}, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await rejects(t.driver.get(vm.name.slice(0, -1)), 'NOT_FOUND')
    if (vm.id.length > 4) await rejects(t.driver.get(vm.id.slice(0, -1)), 'NOT_FOUND')
    if (vm.id.length > 16) await rejects(t.driver.get(vm.id.slice(0, 12)), 'NOT_FOUND')
  })

  test('machines that vmkit did not make are not there', { hooks: ['foreign'] }, async (t) => {
    const foreign = await (t.options.foreign as NonNullable<typeof t.options.foreign>)()
    t.undo(() => foreign.remove())
    const { id, name } = foreign
    assert.ok(!(await t.driver.list()).some((vm) => vm.id === id || vm.name === name))
    for (const key of [id, name]) await rejects(t.driver.get(key), 'NOT_FOUND')
    const driver = t.raw()
    await driver.probe(t.context())
    await rejects(driver.delete(id, { force: true }, t.context()), 'NOT_FOUND')
    await rejects(driver.stop(id, { graceMs: 0 }, t.context()), 'NOT_FOUND')
    await rejects(driver.start(id, t.context()), 'NOT_FOUND')
    const { manager } = t.second()
    assert.ok(!(await manager.sweep({ driver: 'subject' })).some((swept) => swept.id === id))
  })
}

async function assertGone(t: Tools, vm: FullVM): Promise<void> {
  const { missing } = vm
  const calls: [string, () => Promise<unknown>][] = [
    ['status', () => vm.status()],
    ['info', () => vm.info()],
    ['start', () => vm.start()],
    ['stop', () => vm.stop()],
    ['kill', () => vm.kill()],
    ['delete', () => vm.delete()],
    ['delete with force', () => vm.delete({ force: true })],
    ['metrics', () => vm.metrics()],
    ['wait', () => vm.wait({ timeoutMs: t.ms(5000) })],
  ]
  if (missing.exec === undefined) calls.push(['exec', () => vm.exec(t.command({ does: 'exit', code: 0 }))])
  if (missing.logs === undefined)
    calls.push(['logs', () => all(vm.logs())], ['logs with follow', () => t.within(15_000, 'an answer', all(vm.logs({ follow: true })))])
  if (missing.pause === undefined) calls.push(['pause', () => vm.pause()])
  if (missing.files === undefined) calls.push(['files.read', () => vm.files.read('x')], ['files.write', () => vm.files.write('x', 'x')])
  if (missing['snapshot.disk'] === undefined) calls.push(['snapshot', () => vm.snapshot('tag')], ['snapshots', () => vm.snapshots()])
  for (const [what, call] of calls) await rejects(call(), 'NOT_FOUND', what)
}
