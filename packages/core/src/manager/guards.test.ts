import { describe, expect, it, vi } from 'vitest'
import { type FakeOptions, fakeDriver } from '../../test/fake-driver.js'
import { VMKitError } from '../errors.js'
import { createManager } from './manager.js'

/** A driver whose backend guards start and delete, and the looks that the manager takes at it. */
async function guarded({ overrides, ...options }: FakeOptions = {}) {
  const driver = fakeDriver({ probe: { missing: {} }, ...options, overrides: { guards: ['start', 'delete'], ...overrides } })
  const getStatus = vi.spyOn(driver, 'getStatus')
  const fake = createManager({ drivers: { fake: driver } }).driver('fake')
  return { driver, getStatus, vm: await fake.create({}) }
}

const refuse = (code: 'CONFLICT' | 'NOT_FOUND' | 'BACKEND_ERROR') => async () => {
  throw new VMKitError(code, 'in the words of the backend')
}

describe('an operation that the backend guards itself', () => {
  it('is not preceded by a look at the state', async () => {
    const { vm, driver, getStatus } = await guarded()
    await vm.start()
    await vm.start()
    await vm.delete()
    expect(driver.calls).toEqual(['create', 'start', 'start', 'delete'])
    expect(getStatus).not.toHaveBeenCalled()
  })

  it('is explained with the state after a refusal', async () => {
    const { vm } = await guarded({ overrides: { delete: refuse('CONFLICT') } })
    await vm.start()
    await expect(vm.delete()).rejects.toMatchObject({
      code: 'INVALID_STATE',
      message: expect.stringContaining('`running`'),
      hint: expect.stringContaining('force'),
      cause: { message: 'in the words of the backend' },
    })
  })

  it('is done when the machine is there already, whatever the backend says', async () => {
    const { vm, driver } = await guarded({ overrides: { start: refuse('CONFLICT') } })
    for (const machine of driver.machines.values()) machine.state = 'running'
    await vm.start()
  })

  it('fails with the words of the backend where the state is no reason', async () => {
    const { vm, getStatus } = await guarded({ overrides: { start: refuse('CONFLICT'), delete: refuse('BACKEND_ERROR') } })
    await expect(vm.start()).rejects.toMatchObject({ code: 'CONFLICT', message: 'in the words of the backend' })
    expect(getStatus).toHaveBeenCalledOnce()
    await expect(vm.delete()).rejects.toMatchObject({ code: 'BACKEND_ERROR' })
    expect(getStatus).toHaveBeenCalledOnce()
  })

  it('says of a machine that is gone what the driver knows of it', async () => {
    const { vm, getStatus } = await guarded({ overrides: { start: refuse('NOT_FOUND') } })
    getStatus.mockRejectedValue(new VMKitError('NOT_FOUND', 'gone', { hint: 'it lives on' }))
    await expect(vm.start()).rejects.toMatchObject({ code: 'NOT_FOUND', hint: 'it lives on' })
  })

  it('tells what was refused after the machine itself went', async () => {
    const { vm, getStatus } = await guarded({ overrides: { delete: refuse('CONFLICT') } })
    getStatus.mockRejectedValue(new VMKitError('NOT_FOUND', 'gone'))
    await expect(vm.delete()).rejects.toMatchObject({ code: 'CONFLICT', message: 'in the words of the backend' })
  })

  it('is preceded by a look where the manager itself tells what happened', async () => {
    const { vm, driver, getStatus } = await guarded({ probe: { missing: { events: 'none here' } } })
    await vm.start()
    await vm.start()
    expect(driver.calls).toEqual(['create', 'start'])
    expect(getStatus).toHaveBeenCalledTimes(2)
  })
})
