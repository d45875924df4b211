/** What the host spends on a machine, and what QEMU counts of it. */
import { readFileSync } from 'node:fs'
import type { CallContext, MetricsReading, VMKitError } from '@vmkit/core/driver'
import { readStat, TICKS_PER_SECOND } from '@vmkit/core/state-folder'
import { invalidState } from './errors.js'
import { type GuestMemory, guestMemory } from './guest-memory.js'
import { machineOptions } from './machine-options.js'
import { tapsOf } from './net/attach.js'
import type { Qmp } from './qmp/client.js'
import { command } from './qmp/command.js'
import { DEFAULT_MEMORY } from './spec.js'
import { withLock } from './state/lock.js'
import { isRunAlive, statusOf } from './state/run.js'
import type { Machine } from './state/store.js'

const PAGE_BYTES = 4096
const MS_PER_TICK = 1000 / TICKS_PER_SECOND

interface BlockStats {
  'node-name'?: string
  qdev?: string
  stats: { rd_bytes: number; wr_bytes: number }
}

/**
 * CPU time is QEMU's own on the host, vCPUs included. Memory is what the host holds for it; the limit is what the balloon leaves
 * the guest. Network bytes are those of taps, its named networks among them; user-mode networking counts none, so they are `null` there.
 */
export async function readMetrics(machine: Machine, ctx: CallContext): Promise<MetricsReading> {
  const { run, state } = statusOf(machine.folder)
  const ended = (now = statusOf(machine.folder).state): VMKitError => invalidState(machine.id, 'read the metrics of', now)
  if (!run?.qemu || !isRunAlive(run)) throw ended(state)
  const counted = await withLock(machine, 'metrics', ctx.signal, (signal) => command(machine, signal, (qmp) => count(qmp)))
  // The part first: together with it the whole has grown.
  const vcpus = vcpuMs(run.qemu.pid, counted.threads)
  const stat = readStat(run.qemu.pid)
  if (!stat || !isRunAlive(run)) throw ended()
  const userMs = stat.userTicks * MS_PER_TICK
  const systemMs = stat.systemTicks * MS_PER_TICK
  return {
    source: '/proc and QMP',
    cpu: { usageMs: userMs + systemMs, userMs, systemMs },
    memory: { usedBytes: stat.residentPages * PAGE_BYTES, limitBytes: counted.balloon ?? machine.config.memory ?? DEFAULT_MEMORY },
    disk: counted.disk,
    network: tapCounters(countedTaps(machine)),
    details: { vcpuMs: vcpus, ...counted.guest },
  }
}

/** Time of the threads that run guest code. */
function vcpuMs(pid: number, threads: readonly number[]): number | null {
  const stats = threads.flatMap((thread) => readStat(`${pid}/task/${thread}`) ?? [])
  return stats.length < threads.length ? null : stats.reduce((sum, stat) => sum + stat.userTicks + stat.systemTicks, 0) * MS_PER_TICK
}

interface Counted {
  balloon: number | undefined
  disk: { readBytes: number; writeBytes: number }
  /** Ids of the host's threads, one for each vCPU. */
  threads: number[]
  guest: GuestMemory
}

async function count(qmp: Qmp): Promise<Counted> {
  const cpus = await qmp.execute<{ 'thread-id': number }[]>('query-cpus-fast')
  const balloon = await qmp.execute<{ actual: number }>('query-balloon').catch(() => undefined)
  const blocks = await qmp.execute<BlockStats[]>('query-blockstats')
  const disks = blocks.filter(({ qdev }) => qdev !== undefined)
  return {
    balloon: balloon?.actual,
    disk: {
      readBytes: disks.reduce((sum, { stats }) => sum + stats.rd_bytes, 0),
      writeBytes: disks.reduce((sum, { stats }) => sum + stats.wr_bytes, 0),
    },
    // An emulated machine may run all its vCPUs on one thread.
    threads: [...new Set(cpus.map((cpu) => cpu['thread-id']))],
    guest: await guestMemory(qmp),
  }
}

function countedTaps(machine: Machine): string[] {
  const { network } = machineOptions(machine.config)
  return [...(network?.kind === 'tap' ? [network.ifname] : []), ...tapsOf(machine)]
}

/** What the host received on a tap is what the guest sent. */
function tapCounters(taps: readonly string[]): { rxBytes: number; txBytes: number } | null {
  if (taps.length === 0) return null
  const sum = (file: string): number =>
    taps.reduce((total, tap) => total + Number(readFileSync(`/sys/class/net/${tap}/statistics/${file}`, 'latin1')), 0)
  try {
    return { rxBytes: sum('tx_bytes'), txBytes: sum('rx_bytes') }
  } catch {
    return null
  }
}
