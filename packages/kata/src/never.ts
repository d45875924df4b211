import type { Missing } from '@vmkit/core/driver'

/** What no Kata has, with what a person wants to know. */
export const NEVER: Missing = {
  'snapshot.memory': "Kata's shim has no Checkpoint: the memory of a sandbox cannot be saved",
  'clone.memory': "Kata's shim has no Checkpoint, so no snapshot has the memory of a sandbox",
  'migrate.live': "Kata's shim has no Checkpoint: a running sandbox cannot be moved; `migrate.cold` moves a stopped one",
}
