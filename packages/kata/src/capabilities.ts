import { capabilities as containerd } from '@vmkit/containerd/driver'
import type { Missing } from '@vmkit/core/driver'

const { 'snapshot.memory': _memory, 'clone.memory': _memoryClone, 'migrate.live': _live, ...shared } = containerd

/** What containerd can do with Kata's shim; the probe takes back what the hypervisor and the host at hand lack. */
export const capabilities = Object.freeze({ ...shared, mounts: 'probe', volumes: 'probe' } as const)

export type KataCapabilities = typeof capabilities

/** What no Kata has, with what a person wants to know. */
export const NEVER: Missing = {
  'snapshot.memory': "Kata's shim has no Checkpoint: the memory of a sandbox cannot be saved",
  'clone.memory': "Kata's shim has no Checkpoint, so no snapshot has the memory of a sandbox",
  'migrate.live': "Kata's shim has no Checkpoint: a running sandbox cannot be moved; `migrate.cold` moves a stopped one",
}
