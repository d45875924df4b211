import { describe, expect, it } from 'vitest'
import { metricsOf } from './metrics.js'

// Shapes as recorded from Docker 20.10 (cgroup v1) and described for v2 in the Engine API, with the numbers shortened.
const common = {
  read: '2026-11-21T21:00:00.5Z',
  cpu_stats: { cpu_usage: { total_usage: 25_000_000, usage_in_usermode: 10_000_000, usage_in_kernelmode: 15_000_000 } },
  pids_stats: { current: 3 },
  networks: { eth0: { rx_bytes: 5, tx_bytes: 7 }, eth1: { rx_bytes: 1, tx_bytes: 1 } },
}

describe('metrics', () => {
  it('reads cgroup v1', () => {
    const blkio = [
      { op: 'Read', value: 4096 },
      { op: 'Write', value: 512 },
      { op: 'Total', value: 4608 },
    ]
    expect(
      metricsOf({
        ...common,
        memory_stats: { usage: 1000, limit: 5000, stats: { total_inactive_file: 300, inactive_file: 1 } },
        blkio_stats: { io_service_bytes_recursive: blkio },
      }),
    ).toEqual({
      at: Date.parse('2026-11-21T21:00:00.5Z'),
      cpu: { usageMs: 25, userMs: 10, systemMs: 15 },
      memory: { usedBytes: 700, limitBytes: 5000 },
      pids: 3,
      network: { rxBytes: 6, txBytes: 8 },
      disk: { readBytes: 4096, writeBytes: 512 },
      source: 'cgroup-v1',
    })
  })

  it('reads cgroup v2, and says null for what is not told', () => {
    const found = metricsOf({
      ...common,
      networks: undefined,
      memory_stats: { usage: 1000, limit: 5000, stats: { inactive_file: 400, anon: 1 } },
      blkio_stats: { io_service_bytes_recursive: null },
    })
    expect(found).toMatchObject({ memory: { usedBytes: 600 }, network: null, disk: null, source: 'cgroup-v2' })
  })
})
