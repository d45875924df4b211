/** Leases: what is made under one is not collected as garbage before it ends. */
import { randomUUID } from 'node:crypto'
import type { Containerd } from '../grpc/connection.js'

/** A process that is killed leaves its lease: containerd drops it, and what only it held, after so long. */
const LEASE_HOURS = 6
const LEASE_LABEL = 'io.vmkit.lease'

/** Runs `work` under a lease, which ends with it, however it ends. */
export async function withLease<T>(containerd: Containerd, signal: AbortSignal, work: (lease: string) => Promise<T>): Promise<T> {
  const id = `vmkit-${randomUUID()}`
  const expires = new Date(Date.now() + LEASE_HOURS * 3_600_000)
  await containerd.leases.create({ id, labels: { 'containerd.io/gc.expire': expires.toISOString(), [LEASE_LABEL]: 'true' } }, { signal })
  try {
    return await work(id)
  } finally {
    // Not under `signal`: after an abort too. A daemon that is gone drops it by its expiry.
    await containerd.leases.delete({ id }, { timeoutMs: 5000 }).catch(() => undefined)
  }
}
