import { expect, it } from 'vitest'
import { guestMetrics } from './metrics.js'

const reading = {
  source: 'cgroup-v1',
  cpu: { usageMs: 3, userMs: 1, systemMs: 2 },
  memory: { usedBytes: 5, limitBytes: null },
  pids: 2,
  network: { rxBytes: 1, txBytes: 0 },
  disk: { readBytes: 0, writeBytes: 7 },
}

it('tells what the guest told', () => {
  expect(guestMetrics(reading)).toEqual({ ...reading, source: 'guest cgroup-v1' })
})

it('leaves out what the Go shim mixes up on a host with cgroup v2', () => {
  expect(guestMetrics({ ...reading, source: 'cgroup-v2' })).toEqual({
    ...reading,
    source: 'guest cgroup-v2',
    cpu: { usageMs: 3, userMs: null, systemMs: null },
    network: null,
    disk: null,
  })
})

it('takes zeros for what they are: nothing was told', () => {
  const silent = {
    source: 'cgroup-v1',
    cpu: { usageMs: 0, userMs: 0, systemMs: 0 },
    memory: { usedBytes: 0, limitBytes: null },
    pids: 0,
    network: { rxBytes: 0, txBytes: 0 },
    disk: { readBytes: 0, writeBytes: 0 },
  }
  expect(guestMetrics(silent)).toEqual({
    source: 'guest cgroup-v1',
    pids: null,
    network: null,
    disk: null,
  })
  expect(guestMetrics({ ...silent, cpu: { usageMs: 9, userMs: 0, systemMs: 0 } }).cpu).toEqual({ usageMs: 9, userMs: null, systemMs: null })
  expect(guestMetrics({ source: 'containerd' })).toEqual({ source: 'guest containerd', pids: null, network: null, disk: null })
})
