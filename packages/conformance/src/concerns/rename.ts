import assert from 'node:assert/strict'
import { outcome, rejects } from '../assertions.js'
import type { Test } from '../tools.js'

/** A name can change; it is the machine's alone before and after. */
export function rename(test: Test): void {
  const needs = ['rename'] as const

  test('the new name is told everywhere, and the old one is free', { needs }, async (t) => {
    const name = t.name()
    const vm = await t.start({ does: 'idle' }, { name, labels: { kept: 'yes' } })
    const { id } = vm
    const newName = t.name()
    await vm.rename(newName)
    assert.deepEqual([vm.id, vm.name], [id, newName])
    const info = await vm.info()
    assert.deepEqual([info.name, info.config.name, info.state, info.labels.kept], [newName, newName, 'running', 'yes'])
    assert.deepEqual(
      (await t.mine()).map((found) => [found.id, found.name]),
      [[id, newName]],
    )
    const { driver } = t.second()
    assert.equal((await driver.get(newName)).id, id)
    assert.equal((await driver.get(id)).name, newName)
    await rejects(driver.get(name), 'NOT_FOUND', 'the old name')
    const successor = await t.create({ does: 'idle' }, { name })
    assert.notEqual(successor.id, id)
    await rejects(t.driver.create(t.config({ does: 'idle' }, { name: newName })), 'ALREADY_EXISTS', 'a create under the new name')
  })

  test('it lives on as before: stop, start, back to the old name, delete', { needs }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    const { name } = vm
    await vm.rename(t.name())
    await vm.start()
    await vm.stop({ graceMs: t.ms(3000) })
    await vm.rename(name)
    assert.equal((await vm.status()).state, 'stopped')
    assert.equal((await vm.info()).name, name)
    await vm.start()
    await vm.delete({ force: true })
    assert.deepEqual(await t.mine(), [])
  })

  test('its own name is no change', { needs }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    const { name } = vm
    await vm.rename(name)
    assert.equal((await vm.info()).name, name)
    const driver = t.raw()
    await driver.probe(t.context())
    await driver.rename?.(vm.id, name, t.context())
    assert.equal((await vm.info()).name, name, 'the driver itself resolves too')
  })

  test('a taken name is ALREADY_EXISTS, and nothing has changed', { needs }, async (t) => {
    const holder = await t.create({ does: 'idle' })
    const vm = await t.create({ does: 'idle' })
    const { name } = vm
    await rejects(vm.rename(holder.name), 'ALREADY_EXISTS')
    assert.deepEqual([vm.name, (await vm.info()).name, (await vm.info()).config.name], [name, name, name])
    assert.equal((await t.driver.get(holder.name)).id, holder.id)
    assert.equal((await t.mine()).length, 2)
  })

  test('of four that want one name, exactly one gets it', { needs }, async (t) => {
    const machines = await Promise.all(Array.from({ length: 4 }, () => t.create({ does: 'idle' })))
    const wanted = t.name()
    const outcomes = await Promise.all(machines.map((vm) => outcome(vm.rename(wanted))))
    assert.deepEqual(outcomes.sort(), [...Array<string>(3).fill('ALREADY_EXISTS'), 'ok'])
    assert.equal((await t.mine()).filter(({ name }) => name === wanted).length, 1)
  })

  test('a name that is none is refused, and nothing has changed', { needs }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    for (const wrong of ['', '..', '../x', '-rf', 'a b', 'a/b', 'x'.repeat(64)])
      await rejects(vm.rename(wrong), 'INVALID_CONFIG', JSON.stringify(wrong))
    assert.deepEqual(
      (await t.mine()).map(({ name }) => name),
      [vm.name],
    )
  })

  test('a machine that is gone is NOT_FOUND', { needs }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await vm.delete()
    await rejects(vm.rename(t.name()), 'NOT_FOUND')
  })

  test('it is told once, with both names', { needs }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    const from = vm.name
    const to = t.name()
    const heard: (readonly [string, string, string | undefined])[] = []
    const events = vm.events()
    let pull = events.next()
    await vm.rename(to)
    await vm.start()
    for (;;) {
      const { value } = await t.within(10_000, 'an event', pull)
      heard.push([value.type, value.name, value.type === 'renamed' ? value.from : undefined])
      if (value.type === 'started') break
      pull = events.next()
    }
    await events.return?.()
    assert.deepEqual(heard, [
      ['renamed', to, from],
      ['started', to, undefined],
    ])
  })

  test('the name of now goes along: restore, clone', { needs: ['rename', 'snapshot.disk', 'clone'], limitMs: 90_000 }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await vm.snapshot('clean')
    const newName = t.name()
    await vm.rename(newName)
    await vm.restore('clean')
    assert.deepEqual([vm.name, (await vm.info()).name, (await vm.info()).config.name], [newName, newName, newName])
    // A restore may have made another machine inside the backend: that one can be renamed as well.
    const last = t.name()
    await vm.rename(last)
    assert.equal((await vm.info()).name, last)
    assert.equal((await t.driver.get(last)).id, vm.id)
    const copy = await vm.clone('clean', { name: newName, onDispose: 'detach' })
    assert.equal((await copy.info()).name, newName)
  })
}
