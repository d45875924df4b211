import { registerDriver } from '@vmkit/core'
import { capabilities, type ProcessOptions, processDriver } from './driver.js'

declare module '@vmkit/core' {
  interface DriverRegistry {
    process: { options: ProcessOptions; capabilities: typeof capabilities }
  }
}

registerDriver({ name: 'process', apiVersion: 1, package: '@vmkit/process', capabilities, create: (options: ProcessOptions) => processDriver(options) })
