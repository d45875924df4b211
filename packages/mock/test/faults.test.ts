import { createManager } from '@vmkit/core'
import { expect, it } from 'vitest'
import { fakeClock, mock, mockBackend } from '../src/driver.js'

it('fails the third start and leaves that machine as it was', async () => {
  const backend = mockBackend()
  await using manager = createManager({ drivers: { mock: mock({ backend }) } })
  backend.inject({ operation: 'start', nth: 3, error: 'RESOURCE_EXHAUSTED', message: 'no memory left' })
  const machines = [await manager.create({}), await manager.create({}), await manager.create({})] as const
  await machines[0].start()
  await machines[1].start()
  await expect(machines[2].start()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', message: 'no memory left', vmId: machines[2].id })
  expect((await machines[2].status()).state).toBe('created')
  await machines[2].start()
  expect((await machines[2].status()).state).toBe('running')
})

it('lets a machine die 200 ms after its start, on the fake clock', async () => {
  const clock = fakeClock()
  const backend = mockBackend({ clock })
  await using manager = createManager({ drivers: { mock: mock({ backend }) } })
  backend.inject({ operation: 'start', dieAfterMs: 200, exit: { oom: true, reason: 'oom' } })
  const vm = await manager.create({})
  await vm.start()
  await clock.advance(199)
  expect((await vm.status()).state).toBe('running')
  await clock.advance(1)
  expect(await vm.wait()).toEqual({ code: null, signal: 'SIGKILL', oom: true, reason: 'oom', at: 200 })
})

it('restarts by itself as its policy says', async () => {
  const clock = fakeClock()
  let runs = 0
  const fail = (): number => {
    runs += 1
    return 1
  }
  const backend = mockBackend({ clock, programs: { flaky: () => fail() } })
  await using manager = createManager({ drivers: { mock: mock({ backend }) } })
  const vm = await manager.create({ command: ['flaky'], restart: { policy: 'on-failure', maxRetries: 2 } })
  await vm.start()
  await clock.advance(10_000)
  expect(runs).toBe(3)
  expect((await vm.status()).state).toBe('stopped')
})

it('is without a capability when told so, with the given reason', async () => {
  await using manager = createManager({ drivers: { mock: mock({ without: { 'snapshot.disk': 'this disk is read-only' } }) } })
  const vm = await manager.create({}, { driver: 'mock' })
  expect(vm.supports('snapshot.disk')).toBe(false)
  await expect(vm.snapshot('one')).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    capability: 'snapshot.disk',
    message: expect.stringContaining('this disk is read-only'),
  })
})

it('keeps the memory of a program in a memory snapshot', async () => {
  const seen: number[] = []
  const backend = mockBackend({
    programs: {
      counter: async (io) => {
        for (;;) {
          const count = ((io.memory.get('count') as number | undefined) ?? 0) + 1
          io.memory.set('count', count)
          seen.push(count)
          await io.sleep(100)
        }
      },
    },
    clock: fakeClock(),
  })
  const clock = backend.clock as ReturnType<typeof fakeClock>
  await using manager = createManager({ drivers: { mock: mock({ backend }) } })
  const vm = await manager.create({ command: ['counter'] }, { driver: 'mock' })
  await vm.start()
  await clock.advance(250)
  await vm.snapshot('at-three', { memory: true })
  await clock.advance(200)
  await vm.restore('at-three')
  await clock.advance(100)
  expect(seen).toEqual([1, 2, 3, 4, 5, 4, 5])
})

it('names what is wrong with its options', () => {
  expect(() => mock({ seed: 'one' as unknown as number })).toThrow('`options.seed`: expected a number, got "one" (string)')
  expect(() => mock({ programs: { broken: 5 as unknown as () => number } })).toThrow('`options.programs.broken`: expected a function')
})
