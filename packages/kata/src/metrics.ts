import type { MetricsReading } from '@vmkit/core/driver'

/**
 * What the guest's agent really reports. Left out: with cgroup v2 in the guest, the Go shim swaps user and system time and
 * leaves the network out (containerd-shim-v2/metrics.go); figures of a device that are all zero, which is how it says nothing.
 */
export function guestMetrics({ source, cpu, network, disk, ...reading }: MetricsReading): MetricsReading {
  const isV2 = source === 'cgroup-v2'
  return {
    ...reading,
    source: `guest ${source}`,
    ...(cpu ? { cpu: isV2 ? { ...cpu, userMs: null, systemMs: null } : cpu } : {}),
    network: isV2 || !network || (network.rxBytes === 0 && network.txBytes === 0) ? null : network,
    disk: !disk || (disk.readBytes === 0 && disk.writeBytes === 0) ? null : disk,
  }
}
