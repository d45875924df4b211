import { VMKitError } from '@vmkit/core'
import type { CallContext, VMMetrics } from '@vmkit/core/driver'
import type { Machines } from './machines.js'
import { type StatsAnswer, timeOf } from './wire.js'

const NANOS_PER_MS = 1e6

export async function readMetrics(machines: Machines, id: string, ctx: CallContext): Promise<VMMetrics> {
  const { engine, path } = await machines.find(id, ctx)
  const stats = await engine.json<StatsAnswer>({
    method: 'GET',
    path: `${path}/stats`,
    query: { stream: false, 'one-shot': true },
    signal: ctx.signal,
    context: { vmId: id },
  })
  const at = timeOf(stats.read)
  // A container that does not run is answered with zeros.
  if (at === null || stats.memory_stats?.usage === undefined) {
    const { State } = await machines.inspect(id, ctx)
    if (!State.Running)
      throw new VMKitError('INVALID_STATE', `A machine that is ${State.Status} has no metrics`, { driver: 'docker', vmId: id })
  }
  return metricsOf(stats)
}

/** One answer of the stats call. Cgroup v1 tells of `total_inactive_file` where v2 says `inactive_file`. */
export function metricsOf(stats: StatsAnswer): VMMetrics {
  const { cpu_stats, memory_stats, pids_stats, networks, blkio_stats } = stats
  const cpu = cpu_stats?.cpu_usage
  const detail = memory_stats?.stats
  const isV1 = detail?.total_inactive_file !== undefined
  // The page cache that can go at once is no use of memory; `docker stats` subtracts it too.
  const cache = detail?.total_inactive_file ?? detail?.inactive_file ?? 0
  const usage = memory_stats?.usage
  return {
    at: timeOf(stats.read) ?? Date.now(),
    cpu: { usageMs: nanos(cpu?.total_usage), userMs: nanos(cpu?.usage_in_usermode), systemMs: nanos(cpu?.usage_in_kernelmode) },
    memory: { usedBytes: usage === undefined ? null : Math.max(usage - cache, 0), limitBytes: memory_stats?.limit ?? null },
    pids: pids_stats?.current ?? null,
    network: networks ? sumNetworks(networks) : null,
    disk: diskOf(blkio_stats?.io_service_bytes_recursive),
    source: isV1 ? 'cgroup-v1' : 'cgroup-v2',
  }
}

function nanos(value: number | undefined): number | null {
  return value === undefined ? null : value / NANOS_PER_MS
}

function sumNetworks(networks: NonNullable<StatsAnswer['networks']>): { rxBytes: number; txBytes: number } {
  const all = Object.values(networks)
  return { rxBytes: all.reduce((sum, { rx_bytes }) => sum + rx_bytes, 0), txBytes: all.reduce((sum, { tx_bytes }) => sum + tx_bytes, 0) }
}

/** `null` where the kernel keeps no such figures, which differs from no bytes. */
function diskOf(entries: { op: string; value: number }[] | null | undefined): VMMetrics['disk'] {
  if (!entries || entries.length === 0) return null
  const sum = (wanted: string) => entries.reduce((total, { op, value }) => total + (op.toLowerCase() === wanted ? value : 0), 0)
  return { readBytes: sum('read'), writeBytes: sum('write') }
}
