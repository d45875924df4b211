import type { LazyDriver } from '@vmkit/core/driver'
import type { KataCapabilities } from './capabilities.js'

/** The containerd driver with Kata's claims. */
export type Inner = LazyDriver<KataCapabilities>
