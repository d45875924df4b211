import type { MachineConfig } from '../config/types.js'
import type { MachineRef } from '../driver.js'
import type { Backend } from './backend.js'
import type { DisposePolicy } from './owner.js'
import type { VM } from './vm-types.js'

/** A machine as its handle gets to know it. Its config, where it is known, tells how it wants to be stopped. */
export interface AdoptedMachine extends MachineRef {
  name: string
  config?: Pick<MachineConfig, 'stop'>
}

/** Who keeps the handles of a manager. */
export interface HandleOwner {
  adopt(backend: Backend, machine: AdoptedMachine, policy: DisposePolicy): VM
  forget(vm: object): void
  /** Deletes the machine in `ttl` milliseconds. */
  expire(vm: VM, ttl: number): void
}
