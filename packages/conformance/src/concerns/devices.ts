import assert from 'node:assert/strict'
import { rejects } from '../assertions.js'
import type { Test } from '../tools.js'

/** Devices that come and go. */
export function devices(test: Test): void {
  test('a device is attached, named and detached', { needs: ['devices'], hooks: ['device'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const device = t.options.device as NonNullable<typeof t.options.device>
    const id = await vm.attachDevice({ ...device, id: 'kit0' })
    assert.equal(id, 'kit0')
    await rejects(vm.attachDevice({ ...device, id: 'kit0' }), 'ALREADY_EXISTS')
    await vm.detachDevice(id)
    await rejects(vm.detachDevice(id), 'NOT_FOUND')
    assert.equal((await vm.status()).state, 'running')
  })

  test('a device given at create', { needs: ['devices'], hooks: ['device'] }, async (t) => {
    const device = t.options.device as NonNullable<typeof t.options.device>
    const vm = await t.start({ does: 'idle' }, { devices: [device] })
    assert.equal((await vm.info()).config.devices.length, 1)
  })

  test('a device that is none is refused', { needs: ['devices'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await rejects(vm.attachDevice({ type: 'pci', address: 'not an address' }), 'INVALID_CONFIG')
    await rejects(vm.detachDevice('../x'), 'INVALID_CONFIG')
    await rejects(vm.detachDevice('kit-none'), 'NOT_FOUND')
  })
}
