import { expect, it, vi } from 'vitest'
import { type FakeOptions, fakeDriver } from '../../test/fake-driver.js'
import { VMKitError } from '../errors.js'
import { createManager } from './manager.js'

async function two(options: FakeOptions = {}) {
  const driver = fakeDriver(options)
  const manager = createManager({ drivers: { fake: driver } })
  const fake = manager.driver('fake')
  const vm = await fake.create({ name: 'old' })
  return { driver, manager, fake, vm, other: await fake.get('old') }
}

/** Resolves when it is let go. */
function gate() {
  let open = (): void => {}
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, passed }
}

it('is known to every handle of the machine', async () => {
  const { vm, other, fake } = await two()
  await vm.rename('new')
  expect([vm.name, other.name, (await other.info()).name]).toEqual(['new', 'new', 'new'])
  await other.rename('newer')
  expect([vm.name, (await fake.get('newer')).name]).toEqual(['newer', 'newer'])
  await expect(fake.get('old')).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

it('is not kept from a manager where another one renamed the machine again', async () => {
  const { driver, vm, fake } = await two()
  await vm.rename('new')
  await (
    await createManager({ drivers: { fake: driver } })
      .driver('fake')
      .get('new')
  ).rename('newest')
  expect((await fake.get('newest')).name).toBe('newest')
  expect(vm.name).toBe('newest')
})

it('stays with a machine that gets a new id, and goes with one that is deleted', async () => {
  const { vm } = await two()
  await vm.snapshot('clean')
  await vm.rename('new')
  await vm.restore('clean')
  expect(vm.name).toBe('new')
  await vm.rename('newer')
  await vm.delete()
  expect(vm.name).toBe('newer')
})

it('refuses a taken name and a name that is none, and nothing has changed', async () => {
  const { driver, vm, fake } = await two()
  await fake.create({ name: 'taken' })
  await expect(vm.rename('taken')).rejects.toMatchObject({ code: 'ALREADY_EXISTS', operation: 'rename', vmId: vm.id })
  driver.calls.length = 0
  await expect(vm.rename('../x')).rejects.toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringContaining('name') })
  expect(driver.calls).toEqual([])
  expect(vm.name).toBe('old')
})

it('lets no other call act on the machine meanwhile, by whichever name', async () => {
  const { open, passed } = gate()
  let isRenaming = false
  const watched = (name: string) =>
    vi.fn(async () => {
      expect(isRenaming, `${name} during the rename`).toBe(false)
    })
  const pause = watched('pause')
  const { vm, other, fake, driver } = await two({
    overrides: {
      pause,
      getStatus: async () => ({ state: 'running' }),
      async rename(id, name) {
        isRenaming = true
        const machine = driver.machines.get(id)
        if (machine) machine.config = { ...machine.config, name }
        await passed
        isRenaming = false
      },
    },
  })
  const renaming = vm.rename('new')
  const waiting = other.pause()
  await vi.waitFor(() => expect(isRenaming).toBe(true))
  const late = (await fake.get('new')).pause()
  open()
  await Promise.all([renaming, waiting, late])
  expect(pause).toHaveBeenCalledTimes(2)
})

it('of two machines that want each other’s names does not wait for ever', async () => {
  const { vm, fake } = await two()
  const second = await fake.create({ name: 'second' })
  const results = await Promise.allSettled([vm.rename('second'), second.rename('old')])
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
})

it('is known also when its caller had given up', async () => {
  const { open, passed } = gate()
  const { vm, driver } = await two({ overrides: { rename: () => passed } })
  const controller = new AbortController()
  const renaming = vm.rename('new', { signal: controller.signal })
  await vi.waitFor(() => expect(driver.calls).toContain('rename'))
  controller.abort()
  open()
  await expect(renaming).rejects.toMatchObject({ code: 'ABORTED' })
  expect(vm.name).toBe('new')
})

it('is told by the manager where the backend has no events, unless the name was its own', async () => {
  const { vm } = await two()
  const events = vm.events()
  const first = events.next()
  await vm.rename('old')
  await vm.rename('new')
  expect((await first).value).toMatchObject({ type: 'renamed', name: 'new', from: 'old', id: vm.id })
  await events.return?.()
})

it('is refused with the reason where the driver has none', async () => {
  const { vm, driver } = await two({ without: ['rename'], probe: { missing: { rename: 'the id is the name' } } })
  expect(vm.supports('rename')).toBe(false)
  const call = (vm as unknown as { rename(name: string): Promise<void> }).rename('new')
  await expect(call).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    capability: 'rename',
    message: expect.stringContaining('the id is the name'),
  })
  await expect(call).rejects.toBeInstanceOf(VMKitError)
  expect(driver.calls).not.toContain('rename')
})
