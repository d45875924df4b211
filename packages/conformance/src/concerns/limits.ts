import assert from 'node:assert/strict'
import type { Capability, VMConfig } from '@vmkit/core'
import { rejects } from '../assertions.js'
import type { Test } from '../tools.js'

const MIB = 2 ** 20

/** Limits at create, and their change while it runs. */
export function limits(test: Test): void {
  const fields: [Capability, (t: Parameters<Parameters<Test>[2]>[0]) => VMConfig][] = [
    ['limits.cpu', (t) => ({ cpus: t.options.limits?.cpus ?? 0.5 })],
    ['limits.memory', (t) => ({ memory: t.options.limits?.memory ?? 64 * MIB })],
    ['limits.pids', (t) => ({ pids: t.options.limits?.pids ?? 64 })],
  ]
  for (const [capability, config] of fields) {
    test(`${capability} is kept and told`, { needs: [capability] }, async (t) => {
      const wanted = config(t)
      const vm = await t.start({ does: 'idle' }, wanted)
      const { state, config: kept } = await vm.info()
      assert.equal(state, 'running')
      for (const [field, value] of Object.entries(wanted)) assert.equal(kept[field as 'cpus'], value)
      await vm.stop({ graceMs: t.ms(3000) })
      await vm.start()
      assert.equal((await vm.info()).config.cpus, kept.cpus, 'limits hold for the next run too')
    })
  }

  test('pids hold: one more is refused', { needs: ['limits.pids', 'exec'] }, async (t) => {
    const vm = await t.start({ does: 'idle' }, { pids: 8 })
    // None ends by itself: they are there at a time, however slowly a busy host starts them.
    const refused = Array.from({ length: 20 }, async () => {
      const exitCode = await vm.exec(t.command({ does: 'idle' })).then(
        (result) => result.exitCode,
        () => 'rejected',
      )
      assert.notEqual(exitCode, 0)
    })
    await t.within(20_000, 'the refusal of one of twenty commands in a machine of eight processes', Promise.any(refused))
    assert.equal((await vm.status()).state, 'running')
  })

  test('resize while it runs', { needs: ['resize'] }, async (t) => {
    const capabilities: [Capability, 'cpus' | 'memory' | 'pids', number][] = [
      ['limits.cpu', 'cpus', t.options.limits?.cpus ?? 0.5],
      ['limits.memory', 'memory', t.options.limits?.memory ?? 64 * MIB],
      ['limits.pids', 'pids', t.options.limits?.pids ?? 64],
    ]
    const there = capabilities.filter(([capability]) => t.driver.missing[capability] === undefined)
    const start = Object.fromEntries(there.map(([, field, value]) => [field, field === 'cpus' ? value : value * 2]))
    const vm = await t.start({ does: 'idle' }, start)
    for (const [, field, value] of there) {
      await vm.resize({ [field]: value })
      assert.equal((await vm.info()).config[field], value, `${field} after resize`)
    }
    if (there.some(([, field]) => field === 'memory')) {
      const { limitBytes } = (await vm.metrics()).memory
      assert.ok(
        limitBytes === null || Math.abs(limitBytes - (t.options.limits?.memory ?? 64 * MIB)) < 4 * MIB,
        `the backend says ${limitBytes}`,
      )
    }
    assert.equal((await vm.status()).state, 'running')
  })

  test('resize to nonsense is refused and changes nothing', { needs: ['resize', 'limits.memory'] }, async (t) => {
    const memory = t.options.limits?.memory ?? 64 * MIB
    const vm = await t.start({ does: 'idle' }, { memory })
    await rejects(vm.resize({ memory: -1 }), 'INVALID_CONFIG')
    await rejects(vm.resize({ cpus: 0 }), 'INVALID_CONFIG')
    await rejects(vm.resize({ pids: 1.5 }), 'INVALID_CONFIG')
    assert.equal((await vm.info()).config.memory, memory)
  })
}
