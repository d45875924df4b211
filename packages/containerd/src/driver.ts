import { capabilities } from './capabilities.js'
import { type ContainerdDriver, containerdDriver } from './compose.js'
import type { ContainerdOptions } from './options.js'

export { type ContainerdDriver, containerdDriver } from './compose.js'
export type { ContainerdMachineOptions } from './machine-options.js'
export type { ContainerdOptions, ContainerdRegistryAuth } from './options.js'
export type { Spec } from './spec/types.js'
export type { RuntimeOptions, Variation } from './variation.js'
export { capabilities }

/** containerd, over its gRPC API. Touches no host until the first call. */
export function containerd(options?: ContainerdOptions): ContainerdDriver {
  return containerdDriver({ name: 'containerd', isolation: 'container', capabilities }, options)
}
