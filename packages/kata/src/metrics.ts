import type { MetricsReading } from '@vmkit/core/driver'

/**
 * What the guest's agent really reports. The shims have no word for "not known", so a zero that nothing which runs can have is
 * one: no CPU time at all, no memory, no process, no byte on any device. On a host with cgroup v2 the Go shim moreover swaps user
 * and system time, leaves the network out, and keeps of several disks the last one (containerd-shim-v2/metrics.go).
 */
export function guestMetrics({ source, cpu, memory, pids, network, disk, ...rest }: MetricsReading): MetricsReading {
  const isV2 = source === 'cgroup-v2'
  return {
    ...rest,
    source: `guest ${source}`,
    ...(cpu?.usageMs ? { cpu: isV2 || (!cpu.userMs && !cpu.systemMs) ? { ...cpu, userMs: null, systemMs: null } : cpu } : {}),
    ...(memory?.usedBytes ? { memory } : {}),
    pids: pids || null,
    network: isV2 || !network || (network.rxBytes === 0 && network.txBytes === 0) ? null : network,
    disk: isV2 || !disk || (disk.readBytes === 0 && disk.writeBytes === 0) ? null : disk,
  }
}
