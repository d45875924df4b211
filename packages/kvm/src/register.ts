import { registerDriver } from '@vmkit/core'
import { capabilities, type KvmExtras, type KvmMachineOptions, type KvmOptions, kvm } from './driver.js'

declare module '@vmkit/core' {
  interface DriverRegistry {
    kvm: { options: KvmOptions; capabilities: typeof capabilities; machineOptions: KvmMachineOptions; extras: KvmExtras }
  }
}

registerDriver({ name: 'kvm', apiVersion: 1, package: '@vmkit/kvm', capabilities, create: (options: KvmOptions) => kvm(options) })
