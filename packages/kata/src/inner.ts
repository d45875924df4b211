import type { LazyDriver, VMDriver } from '@vmkit/core/driver'
import type { KataCapabilities } from './capabilities.js'

/** The containerd driver with Kata's claims. */
export type Inner = LazyDriver<KataCapabilities> & Required<Pick<VMDriver, 'find'>>
