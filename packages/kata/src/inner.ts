import type { DriverFiles, VMDriver } from '@vmkit/core/driver'
import type { KataCapabilities } from './capabilities.js'

type Used =
  | 'resize'
  | 'execStream'
  | 'snapshot'
  | 'clone'
  | 'prepareIncoming'
  | 'migrateOut'
  | 'finishIncoming'
  | 'exportBundle'
  | 'importBundle'

/** The containerd driver with Kata's claims, which bring these methods. */
export type Inner = VMDriver<KataCapabilities> & Required<Pick<VMDriver, Used>> & { files: Required<DriverFiles> }
