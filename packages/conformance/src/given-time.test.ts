import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { givenTime } from './given-time.js'

it('counts what is waited for', async () => {
  const startedAt = performance.now()
  using time = givenTime()
  while (time.ms() < 200) await sleep(5)
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(199)
})

it('counts what is computed', () => {
  using time = givenTime()
  const before = process.cpuUsage()
  const used = (): number => process.cpuUsage(before).user / 1000
  while (used() < 300);
  expect(time.ms()).toBeGreaterThan(250)
})

it('does not count a time in which nobody ran', async () => {
  using time = givenTime()
  await sleep(1)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000)
  await sleep(1)
  expect(time.ms()).toBeLessThan(500)
})
