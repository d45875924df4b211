import { registerDriver } from '@vmkit/core'
import { capabilities, type ProcessMachineOptions, type ProcessOptions, processDriver } from './driver.js'

declare module '@vmkit/core' {
  interface DriverRegistry {
    process: { options: ProcessOptions; capabilities: typeof capabilities; machineOptions: ProcessMachineOptions }
  }
}

registerDriver({
  name: 'process',
  apiVersion: 1,
  package: '@vmkit/process',
  capabilities,
  create: (options: ProcessOptions) => processDriver(options),
})
