import assert from 'node:assert/strict'
import type { VMMetrics } from '@vmkit/core'
import { first, rejects } from '../assertions.js'
import type { Test } from '../tools.js'

/** Figures of a running machine: what is not known is null, never 0. */
export function metrics(test: Test): void {
  test('a running machine has figures', {}, async (t) => {
    const vm = await t.start({ does: 'tick', everyMs: 20 })
    const reading = await vm.metrics()
    assertShape(t.ms(60_000), reading)
    const later = await t.until('a later reading', async () => {
      const next = await vm.metrics()
      return next.at > reading.at ? next : undefined
    })
    if (reading.cpu.usageMs !== null) assert.ok((later.cpu.usageMs ?? -1) >= reading.cpu.usageMs, 'the use of CPU runs backwards')
  })

  test('a machine that does not run has none', {}, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await rejects(vm.metrics(), 'INVALID_STATE')
    await vm.start()
    await vm.stop({ graceMs: t.ms(3000) })
    await rejects(vm.metrics(), 'INVALID_STATE')
  })

  test('the stream gives readings and ends with the machine', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const readings: VMMetrics[] = []
    const reading = (async () => {
      for await (const entry of vm.watchMetrics({ intervalMs: 20 })) {
        readings.push(entry)
        if (readings.length === 3) void vm.kill('SIGKILL')
      }
    })().catch((error: unknown) => rejects(() => Promise.reject(error), 'INVALID_STATE'))
    await t.within(15_000, 'the end of the readings', reading)
    assert.ok(readings.length >= 3)
    for (const [i, entry] of readings.entries()) if (i > 0) assert.ok(entry.at >= (readings[i - 1] as VMMetrics).at)
  })

  test('the stream can be left', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await t.within(10_000, 'a reading', first(vm.watchMetrics({ intervalMs: 10_000 })))
  })

  test('a limit of memory is told', { needs: ['limits.memory'] }, async (t) => {
    const memory = t.options.limits?.memory ?? 64 * 2 ** 20
    const vm = await t.start({ does: 'idle' }, { memory })
    const { limitBytes } = (await vm.metrics()).memory
    assert.ok(limitBytes === null || Math.abs(limitBytes - memory) < 4 * 2 ** 20, `expected about ${memory}, got ${limitBytes}`)
  })
}

function assertShape(tolerance: number, { at, cpu, memory, pids, network, disk, source }: VMMetrics): void {
  assert.ok(Math.abs(at - Date.now()) < tolerance, `at: expected epoch milliseconds, got ${at}`)
  assert.match(source, /\S/)
  const figures = { ...cpu, ...memory, pids, ...network, ...disk }
  for (const [name, value] of Object.entries(figures)) {
    assert.ok(
      value === null || (typeof value === 'number' && Number.isFinite(value) && value >= 0),
      `${name}: expected a number from 0 or null, got ${value}`,
    )
  }
  for (const group of [network, disk]) assert.notEqual(group, undefined, 'what is not known is null')
}
