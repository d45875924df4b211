/** Leases: what is made under one is not collected as garbage before it ends. */
import { randomUUID } from 'node:crypto'
import type { Containerd } from '../grpc/connection.js'
import { abortReason } from '../grpc/errors.js'

/** A process that is killed leaves its lease: containerd drops it, and what only it held, after so long. */
const LEASE_HOURS = 6
const LEASE_LABEL = 'io.vmkit.lease'

export interface Lease {
  id: string
  /** Never rejects: a daemon that is gone drops the lease by its expiry. */
  end(): Promise<void>
}

/** That of a machine while it is made: who finds a machine, or the folder of one, whose maker was killed knows what to end. */
export const makersLease = (uid: string): string => `vmkit-${uid}`

export async function openLease(containerd: Containerd, signal: AbortSignal, id = `vmkit-${randomUUID()}`): Promise<Lease> {
  const expires = new Date(Date.now() + LEASE_HOURS * 3_600_000)
  if (signal.aborted) throw abortReason(signal)
  // Not under `signal`: the daemon would go on with it, and nobody would end it.
  await containerd.leases.create({ id, labels: { 'containerd.io/gc.expire': expires.toISOString(), [LEASE_LABEL]: 'true' } })
  return {
    id,
    // Not under `signal`: after an abort too.
    end: () => endLease(containerd, id),
  }
}

/** Never rejects, also when there is none. */
export async function endLease(containerd: Containerd, id: string): Promise<void> {
  await containerd.leases.delete({ id }, { timeoutMs: 5000 }).catch(() => undefined)
}

/** Runs `work` under a lease, which ends with it, however it ends. */
export async function withLease<T>(
  containerd: Containerd,
  { signal, id }: { signal: AbortSignal; id?: string },
  work: (lease: string) => Promise<T>,
): Promise<T> {
  const lease = await openLease(containerd, signal, id)
  try {
    return await work(lease.id)
  } finally {
    await lease.end()
  }
}

/** Runs containerd's garbage collector now, which otherwise runs when it sees enough changes: the end of a lease can ask for it. */
export async function collectGarbage(containerd: Containerd): Promise<void> {
  const { id } = await openLease(containerd, new AbortController().signal)
  await containerd.leases.delete({ id, sync: true })
}
