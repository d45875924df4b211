import './register.js'

export { type DockerDriver, type DockerMachineOptions, type DockerOptions, docker, type Healthcheck, type RegistryAuth } from './driver.js'
