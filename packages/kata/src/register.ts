import { type DriverModule, registerDriver } from '@vmkit/core/driver'
import { capabilities, type KataMachineOptions, type KataOptions, kata } from './driver.js'

declare module '@vmkit/core' {
  interface DriverRegistry {
    kata: { options: KataOptions; capabilities: typeof capabilities; machineOptions: KataMachineOptions }
  }
}

const kataModule: DriverModule<KataOptions, typeof capabilities> = {
  name: 'kata',
  apiVersion: 1,
  package: '@vmkit/kata',
  capabilities,
  create: kata,
}

registerDriver(kataModule)
