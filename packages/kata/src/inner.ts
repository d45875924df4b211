import type { VMDriver } from '@vmkit/core/driver'
import type { KataCapabilities } from './capabilities.js'

type Used = 'resize' | 'execStream' | 'clone' | 'prepareIncoming' | 'importBundle'

/** The containerd driver with Kata's claims, which bring these methods. */
export type Inner = VMDriver<KataCapabilities> & Required<Pick<VMDriver, Used>>
