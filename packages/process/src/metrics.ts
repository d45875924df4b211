import type { VMMetrics } from '@vmkit/core/driver'
import { type ProcessStat, TICKS_PER_SECOND } from '@vmkit/core/state-folder'
import { invalidState } from './errors.js'
import { cgroupMetrics, cgroupOf } from './machine-cgroup.js'
import { statusOf } from './run.js'
import type { Machine } from './store.js'
import { membersOf } from './tree.js'

// The page size of every platform that Node runs on here but some arm64 and ppc64 kernels.
const PAGE_BYTES = 4096
const MS_PER_TICK = 1000 / TICKS_PER_SECOND

/** @throws VMKitError `INVALID_STATE` when it does not run */
export function machineMetrics(machine: Machine): VMMetrics {
  const { state, run } = statusOf(machine)
  if (!run || (state !== 'running' && state !== 'paused')) throw invalidState(machine.id, 'read the metrics of', state)
  const fromProc = sum(membersOf(machine, run))
  const cgroup = cgroupOf(machine)
  if (!cgroup) return { at: Date.now(), ...fromProc, source: '/proc' }
  const { cpu, memory, pids } = cgroupMetrics(cgroup)
  // Version 1 counts only what it limits: the rest is summed up.
  return {
    at: Date.now(),
    cpu: cpu.usageMs === null ? fromProc.cpu : cpu,
    memory: memory.usedBytes === null ? fromProc.memory : memory,
    pids: pids ?? fromProc.pids,
    network: null,
    disk: null,
    source: `cgroup-v${cgroup.version}`,
  }
}

/** What living processes used: the time of those that ended is their parent's to tell, and not all do. */
export function sum(members: readonly ProcessStat[]): Omit<VMMetrics, 'at' | 'source'> {
  const total = (value: (stat: ProcessStat) => number): number => members.reduce((all, stat) => all + value(stat), 0)
  const userMs = total((stat) => stat.userTicks) * MS_PER_TICK
  const systemMs = total((stat) => stat.systemTicks) * MS_PER_TICK
  return {
    cpu: { usageMs: userMs + systemMs, userMs, systemMs },
    memory: { usedBytes: total((stat) => stat.residentPages) * PAGE_BYTES, limitBytes: null },
    pids: members.length,
    network: null,
    disk: null,
  }
}
