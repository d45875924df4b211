import { registerDriver } from '@vmkit/core'
import { capabilities } from './capabilities.js'
import { mock } from './driver.js'
import type { MockOptions } from './options.js'

declare module '@vmkit/core' {
  interface DriverRegistry {
    mock: { options: MockOptions; capabilities: typeof capabilities; machineOptions: never }
  }
}

registerDriver({ name: 'mock', apiVersion: 1, package: '@vmkit/mock', capabilities, create: (options: MockOptions) => mock(options) })
