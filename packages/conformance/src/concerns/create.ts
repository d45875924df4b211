import assert from 'node:assert/strict'
import type { VMConfig } from '@vmkit/core'
import { outcome, rejects } from '../assertions.js'
import { LABEL } from '../kit.js'
import type { Test } from '../tools.js'

/** Guarantee 1: all or nothing. */
export function create(test: Test): void {
  test('a new machine is `created`, listed once, and tells its config back', {}, async (t) => {
    const config = t.config({ does: 'idle' }, { labels: { purpose: 'to be found', 'a.b/c': 'ü \\ "quoted", x=y' } })
    const vm = await t.driver.create(config, { onDispose: 'detach' })
    assert.equal((await vm.status()).state, 'created')
    assert.equal((await vm.status()).exit, undefined, 'it never ran, so it has no exit')
    const info = await vm.info()
    assert.equal(info.id, vm.id)
    assert.equal(info.name, config.name)
    assert.equal(info.driver, t.driver.name)
    assert.deepEqual(info.labels, config.labels)
    assert.equal(info.startedAt, null)
    assert.ok(Math.abs(info.createdAt - Date.now()) < t.ms(60_000), `createdAt: expected epoch milliseconds of now, got ${info.createdAt}`)
    assert.equal(info.config.name, config.name)
    if (config.command) assert.deepEqual(info.config.command, [...config.command])
    const listed = (await t.driver.list()).filter(({ id }) => id === vm.id)
    assert.equal(listed.length, 1)
    assert.deepEqual(
      { ...listed[0], labels: { ...listed[0]?.labels } },
      { id: vm.id, name: config.name, driver: t.driver.name, state: 'created', labels: config.labels, createdAt: listed[0]?.createdAt },
    )
  })

  test('a taken name is ALREADY_EXISTS, and its holder is untouched', {}, async (t) => {
    const config = t.config({ does: 'idle' })
    const vm = await t.driver.create(config, { onDispose: 'detach' })
    const error = await rejects(t.driver.create({ ...config, labels: { ...config.labels, second: 'yes' } }), 'ALREADY_EXISTS')
    assert.equal(error.field, 'config.name', 'the error must name the field')
    const info = await vm.info()
    assert.equal(info.id, vm.id)
    assert.deepEqual(info.labels, config.labels)
    assert.equal((await t.mine()).length, 1)
  })

  test('of eight at a time under one name, exactly one is made', {}, async (t) => {
    const config = t.config({ does: 'idle' })
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => outcome(t.driver.create(config, { onDispose: 'detach' }))))
    assert.deepEqual(outcomes.sort(), [...Array<string>(7).fill('ALREADY_EXISTS'), 'ok'])
    assert.equal((await t.mine()).length, 1)
  })

  test('eight at a time under different names are all made', {}, async (t) => {
    const machines = await Promise.all(Array.from({ length: 8 }, () => t.create({ does: 'idle' })))
    assert.equal(new Set(machines.map(({ id }) => id)).size, 8)
    assert.equal((await t.mine()).length, 8)
  })

  test('a name is free again after delete', {}, async (t) => {
    const config = t.config({ does: 'idle' })
    const before = await t.driver.create(config, { onDispose: 'detach' })
    await before.delete()
    const after = await t.driver.create(config, { onDispose: 'detach' })
    assert.equal((await after.status()).state, 'created')
  })

  test('list filters by name, labels and state', {}, async (t) => {
    const name = t.name()
    const vm = await t.create({ does: 'idle' }, { name, labels: { color: 'red', shape: 'square' } })
    await t.create({ does: 'idle' }, { labels: { color: 'blue' } })
    const ids = async (filter: Parameters<typeof t.driver.list>[0]) => (await t.driver.list(filter)).map(({ id }) => id)
    assert.deepEqual(await ids({ name }), [vm.id])
    assert.deepEqual(await ids({ labels: { [LABEL]: t.run, color: 'red' } }), [vm.id])
    assert.equal((await ids({ labels: { [LABEL]: t.run } })).length, 2)
    assert.deepEqual(await ids({ labels: { [LABEL]: t.run, color: 'green' } }), [])
    assert.deepEqual(await ids({ labels: { [LABEL]: t.run }, states: ['running'] }), [])
    assert.equal((await ids({ labels: { [LABEL]: t.run }, states: ['created'] })).length, 2)
    assert.deepEqual(await ids({ name: `${name}x` }), [])
  })

  test('a config that is wrong is INVALID_CONFIG with the field, and makes nothing', {}, async (t) => {
    const wrong: [string, VMConfig][] = [
      ['name', { name: '../escape' }],
      ['memory', { memory: 'lots' }],
      ['cpus', { cpus: -1 }],
      ['env', { env: { 'A=B': 'x' } }],
      ['ports', { ports: [{ guest: 70000 }] }],
      ['unknown', { unknown: true } as VMConfig],
    ]
    for (const [field, part] of wrong) {
      const error = await rejects(t.driver.create(t.config({ does: 'idle' }, part)), 'INVALID_CONFIG', field)
      assert.match(error.message, new RegExp(`config\\.${field}`), 'the message must name the field')
    }
    assert.equal((await t.mine()).length, 0)
  })

  test('options of the driver that it does not know are refused, and nothing is made', {}, async (t) => {
    const error = await rejects(
      t.driver.create(t.config({ does: 'idle' }, { driverOptions: { [t.facts.name]: { vmkitNoSuchOption: 1 } } })),
      ['INVALID_CONFIG', 'UNSUPPORTED'],
    )
    assert.match(error.message, /vmkitNoSuchOption/)
    assert.equal((await t.mine()).length, 0)
  })

  test('options of other drivers are ignored', {}, async (t) => {
    await t.create({ does: 'idle' }, { driverOptions: { 'some-other-driver': { anything: true } } })
  })

  test('a missing image is IMAGE_NOT_FOUND and leaves nothing', { needs: ['images'], hooks: ['images'] }, async (t) => {
    const { rootfs: _, ...config } = t.config({ does: 'idle' }, { image: t.options.images?.missing ?? '' })
    assert.equal((await rejects(t.driver.create(config), 'IMAGE_NOT_FOUND')).field, 'config.image', 'the error must name the field')
    assert.equal((await t.mine()).length, 0)
  })

  test('what is placed before the start is there', {}, async (t) => {
    if (!t.facts.fields.includes('files')) t.skip('the driver does not honour `files` (its refusal is tested)')
    const vm = await t.start({ does: 'idle' }, { files: [{ path: 'kit-placed.txt', content: 'plâced\n', mode: 0o600 }] })
    if (!vm.supports('files')) t.skip(`files: ${vm.missing.files}`)
    assert.equal(await vm.files.readText('kit-placed.txt'), 'plâced\n')
  })
}
