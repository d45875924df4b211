import { describe, expect, it } from 'vitest'
import { type FakeDriver, fakeDriver, untilAborted } from '../../test/fake-driver.js'
import type { VMDriver } from '../driver.js'
import { VMKitError } from '../errors.js'
import type { VMState } from '../machine.js'
import { createManager } from './manager.js'

type Side = 'source' | 'target'

async function setUp(state: VMState, overrides: Partial<Record<Side, Partial<VMDriver>>> = {}) {
  const source: FakeDriver = fakeDriver({ overrides: overrides.source ?? {} })
  const target: FakeDriver = fakeDriver({ overrides: overrides.target ?? {} })
  const manager = createManager({ drivers: { source, target } })
  const vm = await manager.create({ name: 'm', labels: { a: 'b' } }, { driver: 'source' })
  const record = source.machines.get(vm.id)
  if (record) record.state = state
  return { source, target, manager, vm, to: manager.lookup('target') }
}
const states = ({ machines }: FakeDriver) => [...machines.values()].map(({ state }) => state)

describe('migrate', () => {
  it.each<[boolean, VMState, VMState]>([
    [false, 'running', 'running'],
    [false, 'paused', 'paused'],
    [false, 'stopped', 'created'],
    [true, 'running', 'created'],
  ])('live %s, from %s', async (live, from, arrives) => {
    const { vm, to, source, target } = await setUp(from)
    const result = await vm.migrate(to, { live })
    expect(states(source)).toEqual([])
    expect(states(target)).toEqual([arrives])
    expect(result).toMatchObject({ bytes: 7, details: { rounds: 2 }, vm: { driver: 'target', name: 'm', onDispose: 'delete' } })
    expect(result.totalMs).toBeGreaterThanOrEqual(result.downtimeMs - 3)
    expect((await result.vm.info()).labels).toEqual({ a: 'b' })
    await vm[Symbol.asyncDispose]()
    expect(states(target)).toHaveLength(1)
  })

  const broken = (): Promise<never> => Promise.reject(new VMKitError('BACKEND_ERROR', 'broken here'))
  it.each<[Side, keyof VMDriver]>([
    ['target', 'prepareIncoming'],
    ['source', 'stop'],
    ['source', 'migrateOut'],
    ['target', 'finishIncoming'],
    ['target', 'start'],
    ['source', 'delete'],
  ])('a failure of the %s at %s leaves the source as it was and the target clean', async (side, step) => {
    for (const from of ['running', 'paused'] as const) {
      const { vm, to, source, target } = await setUp(from, { [side]: { [step]: broken } })
      await expect(vm.migrate(to)).rejects.toMatchObject({ message: 'broken here', operation: 'migrate' })
      expect(states(source)).toEqual([from])
      expect(states(target)).toEqual([])
      expect(vm.id).toBe([...source.machines.keys()][0])
    }
  })

  it('a live one that fails after the source was sent brings it back', async () => {
    const { vm, to, source, target } = await setUp('running', { target: { finishIncoming: broken } })
    await expect(vm.migrate(to, { live: true })).rejects.toMatchObject({ message: 'broken here' })
    expect([states(source), states(target)]).toEqual([['running'], []])
  })

  it('an abort does the same, at any step', async () => {
    for (const [side, step] of [
      ['target', 'prepareIncoming'],
      ['source', 'migrateOut'],
      ['target', 'finishIncoming'],
    ] as const) {
      const controller = new AbortController()
      const hanging = (...args: unknown[]): Promise<never> => {
        setImmediate(() => controller.abort())
        return untilAborted(args.at(-1) as never)
      }
      const { vm, to, source, target } = await setUp('running', { [side]: { [step]: hanging } })
      await expect(vm.migrate(to, { signal: controller.signal })).rejects.toMatchObject({ code: 'ABORTED' })
      expect([states(source), states(target)]).toEqual([['running'], []])
    }
  })

  it('an abort that a driver does not hear stops it before the source is deleted', async () => {
    const controller = new AbortController()
    const migrateOut = async () => {
      controller.abort()
      return { downtimeMs: 0, bytes: 0 }
    }
    const { vm, to, source, target } = await setUp('running', { source: { migrateOut } })
    await expect(vm.migrate(to, { signal: controller.signal })).rejects.toMatchObject({ code: 'ABORTED' })
    expect([states(source), states(target)]).toEqual([['running'], []])
  })

  it('goes through when the source is gone although its deletion failed', async () => {
    const { vm, to, source, target } = await setUp('running')
    const remove = source.delete
    source.delete = async (...args) => {
      await remove(...args)
      throw new Error('lost the answer')
    }
    await vm.migrate(to)
    expect([states(source), states(target)]).toEqual([[], ['running']])
  })

  it('tells what could not be undone', async () => {
    const { vm, to } = await setUp('running', {
      source: { start: () => Promise.reject(new Error('no room')) },
      target: { finishIncoming: broken },
    })
    await expect(vm.migrate(to)).rejects.toMatchObject({
      message: 'broken here',
      hint: expect.stringContaining('could not be put back: no room'),
    })
  })

  it('refuses targets that cannot take it', async () => {
    const { vm, manager } = await setUp('running')
    const elsewhere = createManager({
      drivers: {
        other: fakeDriver({ name: 'other' }),
        cold: fakeDriver({ probe: { missing: { 'migrate.live': 'old engine' } } }),
        down: fakeDriver({ probe: { available: false } }),
      },
    })
    await expect(vm.migrate(manager.lookup('source'))).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'target' })
    await expect(vm.migrate({} as never)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'target' })
    await expect(vm.migrate(null as never)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'target' })
    await expect(vm.migrate(elsewhere.lookup('other'))).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      hint: expect.stringContaining('Bundle'),
    })
    await expect(vm.migrate(elsewhere.lookup('cold'), { live: true })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      capability: 'migrate.live',
    })
    await expect(vm.migrate(elsewhere.lookup('down'))).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
    const stopped = await setUp('stopped')
    await expect(stopped.vm.migrate(stopped.to, { live: true })).rejects.toMatchObject({ code: 'INVALID_STATE' })
  })
})
