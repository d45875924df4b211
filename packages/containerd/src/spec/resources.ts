import type { MachineConfig } from '@vmkit/core/driver'
import type { SpecResources } from './types.js'

/** Kernel default of `cpu.cfs_period_us`, and what Docker's `--cpus` uses. */
const CPU_PERIOD_US = 100_000
/** The kernel refuses a smaller quota (sched/core.c, min_cfs_quota_period). */
const SMALLEST_QUOTA_US = 1000

export interface ResourceOptions {
  cpuShares?: number
  cpusetCpus?: string
  memoryReservation?: number
  /** Memory and swap together, -1 for no limit. */
  memorySwap?: number
}

/** cgroup limits; runtimes translate the v1 names to v2 by themselves. `hasSwap`: the kernel accounts swap. */
export function resourcesOf(
  { cpus, memory, pids }: Pick<MachineConfig, 'cpus' | 'memory' | 'pids'>,
  options: ResourceOptions,
  hasSwap: boolean,
): Omit<SpecResources, 'devices'> {
  const { cpuShares, cpusetCpus, memoryReservation, memorySwap } = options
  const swap = memorySwap ?? memory
  return {
    ...(memory === undefined && memoryReservation === undefined
      ? {}
      : {
          memory: {
            ...(memory === undefined ? {} : { limit: memory }),
            ...(memory !== undefined && swap !== undefined && hasSwap ? { swap } : {}),
            ...(memoryReservation === undefined ? {} : { reservation: memoryReservation }),
          },
        }),
    ...(cpus === undefined && cpuShares === undefined && cpusetCpus === undefined
      ? {}
      : {
          cpu: {
            ...(cpus === undefined ? {} : { period: CPU_PERIOD_US, quota: Math.max(SMALLEST_QUOTA_US, Math.round(cpus * CPU_PERIOD_US)) }),
            ...(cpuShares === undefined ? {} : { shares: cpuShares }),
            ...(cpusetCpus === undefined ? {} : { cpus: cpusetCpus }),
          },
        }),
    ...(pids === undefined ? {} : { pids: { limit: pids } }),
  }
}
