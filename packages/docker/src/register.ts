import { type DriverModule, registerDriver } from '@vmkit/core/driver'
import { capabilities, type DockerMachineOptions, type DockerOptions, docker } from './driver.js'

declare module '@vmkit/core' {
  interface DriverRegistry {
    docker: { options: DockerOptions; capabilities: typeof capabilities; machineOptions: DockerMachineOptions }
  }
}

const dockerModule: DriverModule<DockerOptions, typeof capabilities> = {
  name: 'docker',
  apiVersion: 1,
  package: '@vmkit/docker',
  capabilities,
  create: docker,
}

registerDriver(dockerModule)
