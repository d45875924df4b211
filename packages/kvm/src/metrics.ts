import type { CallContext, MetricsReading } from '@vmkit/core/driver'
import { invalidState } from './errors.js'
import { DEFAULT_MEMORY } from './spec.js'
import { readStat, TICKS_PER_SECOND } from './state/proc.js'
import { statusOf } from './state/run.js'
import type { Machine } from './state/store.js'

const PAGE_BYTES = 4096
const MS_PER_TICK = 1000 / TICKS_PER_SECOND

/** What the host spends on it: QEMU's own time, vCPUs included, and its resident memory. */
export async function readMetrics(machine: Machine, _ctx: CallContext): Promise<MetricsReading> {
  const { run, state } = statusOf(machine.folder)
  const stat = run?.qemu && readStat(run.qemu.pid)
  if (!stat) throw invalidState(machine.id, 'read the metrics of', state)
  const userMs = stat.userTicks * MS_PER_TICK
  const systemMs = stat.systemTicks * MS_PER_TICK
  return {
    source: '/proc',
    cpu: { usageMs: userMs + systemMs, userMs, systemMs },
    memory: { usedBytes: stat.residentPages * PAGE_BYTES, limitBytes: machine.config.memory ?? DEFAULT_MEMORY },
  }
}
