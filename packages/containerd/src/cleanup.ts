/** Milliseconds for taking something back: each is a commit to the daemon's database, for which the disk of a busy host takes seconds. */
export const CLEANUP_MS = 15_000
