import assert from 'node:assert/strict'
import { all, rejects } from '../assertions.js'
import type { FullVM, Test } from '../tools.js'

/** A machine as a portable tar. */
export function bundle(test: Test): void {
  const needs = ['bundle'] as const

  test('out and in again, under another name', { needs, limitMs: 120_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const withFiles = vm.supports('files')
    if (withFiles) await vm.files.write('kit-file', 'bundled')
    await vm.stop({ graceMs: t.ms(3000) })
    const tar = Buffer.concat(await all(vm.exportBundle()))
    assert.equal(tar.length % 512, 0)
    assert.equal(tar.subarray(257, 262).toString(), 'ustar')
    const name = t.name()
    const copy = (await t.driver.importBundle(tar, { name, onDispose: 'detach' })) as FullVM
    assert.equal(copy.name, name)
    assert.notEqual(copy.id, vm.id)
    await copy.start()
    assert.equal((await copy.status()).state, 'running')
    if (withFiles) assert.equal(await copy.files.readText('kit-file'), 'bundled')
    assert.equal((await vm.status()).state, 'stopped')
  })

  test('a bundle that is none, or cut off, is refused and leaves nothing', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    const tar = Buffer.concat(await all(vm.exportBundle()))
    const codes = ['INVALID_CONFIG', 'UNSUPPORTED', 'BACKEND_ERROR'] as const
    await rejects(t.driver.importBundle(Buffer.from('not a bundle'), { name: t.name() }), codes, 'no tar')
    await rejects(t.driver.importBundle(tar.subarray(0, Math.floor(tar.length / 3)), { name: t.name() }), codes, 'a third of a bundle')
    async function* broken() {
      yield tar.subarray(0, 512)
      throw new Error('the source broke')
    }
    await assert.rejects(t.driver.importBundle(broken(), { name: t.name() }))
    await rejects(t.driver.importBundle(tar, { name: vm.name }), 'ALREADY_EXISTS')
    assert.equal((await t.mine()).length, 1)
  })
}
