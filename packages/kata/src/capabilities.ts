import { capabilities as containerd } from '@vmkit/containerd/driver'

const { 'snapshot.memory': _memory, 'clone.memory': _memoryClone, 'migrate.live': _live, ...shared } = containerd

/** What containerd can do with Kata's shim; the probe takes back what the hypervisor and the host at hand lack. */
export const capabilities = Object.freeze({ ...shared, mounts: 'probe', volumes: 'probe' } as const)

export type KataCapabilities = typeof capabilities
