import { readFileSync } from 'node:fs'
import { type CallContext, type MetricsReading, VMKitError } from '@vmkit/core/driver'
import type { Metrics as V1 } from './grpc/generated/cgroup1_metrics_pb.js'
import type { Metrics as V2 } from './grpc/generated/cgroup2_metrics_pb.js'
import type { Packed } from './grpc/messages.js'
import { findMachine, type Host, taskOf } from './host.js'
import { timeOf } from './inspect.js'

const NANOS_PER_MS = 1e6
const MICROS_PER_MS = 1e3
/** What the kernel says for "no limit" is near this: LONG_MAX in pages on v1, all ones on v2. */
const NO_LIMIT = 2 ** 62

export async function readMetrics(host: Host, id: string, ctx: CallContext): Promise<MetricsReading> {
  const { containerId, record } = await findMachine(host, id, ctx)
  const containerd = await host.containerd()
  const [{ metrics }, task] = await Promise.all([
    containerd.tasks.metrics({ filters: [`id==${containerId}`] }, { signal: ctx.signal, vmId: id }),
    taskOf(host, containerId, ctx, id),
  ])
  const metric = metrics.find((candidate) => candidate.id === containerId)
  if (!metric) throw new VMKitError('INVALID_STATE', 'A machine that does not run has no metrics', { vmId: id })
  const at = timeOf(metric.timestamp) ?? Date.now()
  const told = metricsOf(containerd.unpack(metric.data))
  const sharesHost = record.config.networks.some(({ name }) => name === 'host')
  // The shim of runc tells of the network on some versions only, and the kernel always.
  const network = told.network ?? (task && !host.variation.sandboxed && !sharesHost ? networkOf(task.pid) : null)
  const reading = { ...told, network }
  return { at, ...(host.variation.refineMetrics?.(reading) ?? reading) }
}

/** All interfaces of a process but loopback (proc(5), /proc/pid/net/dev). */
function networkOf(pid: number): MetricsReading['network'] {
  try {
    const rows = readFileSync(`/proc/${pid}/net/dev`, 'latin1').split('\n').slice(2)
    const others = rows.map((row) => row.trim().split(/[\s:]+/)).filter(([name]) => name && name !== 'lo')
    const sumOf = (column: number): number => others.reduce((total, fields) => total + Number(fields[column]), 0)
    return others.length === 0 ? null : { rxBytes: sumOf(1), txBytes: sumOf(9) }
  } catch {
    return null
  }
}

/** Of either version of cgroups. What is not in the message is not in the reading. */
export function metricsOf(packed: Packed | undefined): MetricsReading {
  if (packed?.name === 'io.containerd.cgroups.v1.Metrics') return ofV1(packed.message)
  if (packed?.name === 'io.containerd.cgroups.v2.Metrics') return ofV2(packed.message)
  return { source: 'containerd' }
}

function ofV1({ cpu, memory, pids, blkio, network }: V1): MetricsReading {
  const usage = cpu?.usage
  // The page cache that can go at once is no use of memory; `docker stats` subtracts it too.
  const cache = memory?.totalInactiveFile ?? 0n
  return {
    source: 'cgroup-v1',
    cpu: {
      usageMs: over(usage?.total, NANOS_PER_MS),
      userMs: over(usage?.user, NANOS_PER_MS),
      systemMs: over(usage?.kernel, NANOS_PER_MS),
    },
    memory: { usedBytes: memory?.usage ? used(memory.usage.usage, cache) : null, limitBytes: limitOf(memory?.usage?.limit) },
    pids: pids ? Number(pids.current) : null,
    network:
      network.length > 0
        ? { rxBytes: sum(network.map(({ rxBytes }) => rxBytes)), txBytes: sum(network.map(({ txBytes }) => txBytes)) }
        : null,
    disk: blkio ? diskOf(blkio.ioServiceBytesRecursive) : null,
  }
}

function ofV2({ cpu, memory, pids, io }: V2): MetricsReading {
  return {
    source: 'cgroup-v2',
    cpu: {
      usageMs: over(cpu?.usageUsec, MICROS_PER_MS),
      userMs: over(cpu?.userUsec, MICROS_PER_MS),
      systemMs: over(cpu?.systemUsec, MICROS_PER_MS),
    },
    memory: { usedBytes: memory ? used(memory.usage, memory.inactiveFile) : null, limitBytes: limitOf(memory?.usageLimit) },
    pids: pids ? Number(pids.current) : null,
    network: null,
    disk:
      io && io.usage.length > 0
        ? { readBytes: sum(io.usage.map(({ rbytes }) => rbytes)), writeBytes: sum(io.usage.map(({ wbytes }) => wbytes)) }
        : null,
  }
}

/** `null` where the kernel keeps no such figures, which differs from no bytes. */
function diskOf(entries: readonly { op: string; value: bigint }[]): MetricsReading['disk'] {
  if (entries.length === 0) return null
  const of = (wanted: string): number => sum(entries.filter(({ op }) => op.toLowerCase() === wanted).map(({ value }) => value))
  return { readBytes: of('read'), writeBytes: of('write') }
}

function over(value: bigint | undefined, divisor: number): number | null {
  return value === undefined ? null : Number(value) / divisor
}

function used(usage: bigint, cache: bigint): number {
  return Math.max(Number(usage - cache), 0)
}

function limitOf(limit: bigint | undefined): number | null {
  return limit === undefined || limit === 0n || Number(limit) >= NO_LIMIT ? null : Number(limit)
}

function sum(values: readonly bigint[]): number {
  return values.reduce((total, value) => total + Number(value), 0)
}
