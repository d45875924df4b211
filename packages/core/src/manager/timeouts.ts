// Milliseconds. What waits for the guest, or streams, has no deadline of its own.
const DEFAULT_TIMEOUTS: Readonly<Record<string, number>> = {
  probe: 15_000,
  create: 600_000,
  pull: 1_800_000,
  build: 1_800_000,
  import: 1_800_000,
  snapshot: 600_000,
  restore: 600_000,
  clone: 600_000,
  migrate: 3_600_000,
  importBundle: 3_600_000,
  wait: Number.POSITIVE_INFINITY,
  exec: Number.POSITIVE_INFINITY,
}
const OTHERWISE = 60_000

/** How long an operation may take that nobody gave a time, in milliseconds; `own` is what the app set for its manager. */
export function timeoutOf(operation: string, own: Readonly<Record<string, number>>): number {
  return own[operation] ?? DEFAULT_TIMEOUTS[operation] ?? own.default ?? OTHERWISE
}
