/** Leases: what is made under one is not collected as garbage before it ends. */
import { randomUUID } from 'node:crypto'
import { CLEANUP_MS } from '../cleanup.js'
import type { Containerd } from '../grpc/connection.js'
import { abortReason, hasCode } from '../grpc/errors.js'

/** A process that is killed leaves its lease: containerd drops it, and what only it held, after so long. */
const LEASE_HOURS = 6
const LEASE_LABEL = 'io.vmkit.lease'

export interface Lease {
  id: string
  /** Never rejects: of a daemon that is gone, the next call that makes a lease ends this one too. */
  end(): Promise<void>
}

/** That of a machine while it is made: who finds a machine, or the folder of one, whose maker was killed knows what to end. */
export const makersLease = (uid: string): string => `vmkit-${uid}`

export async function openLease(containerd: Containerd, signal: AbortSignal, id = `vmkit-${randomUUID()}`): Promise<Lease> {
  const expires = new Date(Date.now() + LEASE_HOURS * 3_600_000)
  if (signal.aborted) throw abortReason(signal)
  await payDebts(containerd)
  // Not under `signal`: the daemon would go on with it, and nobody would end it.
  await containerd.leases.create({ id, labels: { 'containerd.io/gc.expire': expires.toISOString(), [LEASE_LABEL]: 'true' } })
  return {
    id,
    // Not under `signal`: after an abort too.
    end: () => endLease(containerd, id),
  }
}

/** Leases that could not be ended, as their daemon was away: they go before the next one is made, and else by their expiry. */
const owed = new WeakMap<Containerd, Set<string>>()

async function payDebts(containerd: Containerd): Promise<void> {
  const ids = owed.get(containerd)
  if (!ids) return
  owed.delete(containerd)
  for (const id of ids) await endLease(containerd, id)
}

/** Never rejects, also when there is none. */
export async function endLease(containerd: Containerd, id: string): Promise<void> {
  await containerd.leases.delete({ id }, { timeoutMs: CLEANUP_MS }).catch((error: unknown) => {
    if (hasCode(error, 'NOT_FOUND')) return
    owed.set(containerd, (owed.get(containerd) ?? new Set()).add(id))
  })
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
