import { type DriverModule, registerDriver } from '@vmkit/core/driver'
import { type ContainerdMachineOptions, type ContainerdOptions, capabilities, containerd } from './driver.js'

declare module '@vmkit/core' {
  interface DriverRegistry {
    containerd: { options: ContainerdOptions; capabilities: typeof capabilities; machineOptions: ContainerdMachineOptions }
  }
}

const containerdModule: DriverModule<ContainerdOptions, typeof capabilities> = {
  name: 'containerd',
  apiVersion: 1,
  package: '@vmkit/containerd',
  capabilities,
  create: containerd,
}

registerDriver(containerdModule)
