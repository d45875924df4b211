import { type LazyDriver, lazyDriver } from '@vmkit/core/driver'
import { capabilities } from './capabilities.js'
import { type DockerOptions, parseOptions } from './options.js'

export type { DockerMachineOptions, Healthcheck } from './machine-options.js'
export type { DockerOptions, RegistryAuth } from './options.js'
export { capabilities }

const FIELDS = Object.freeze(['command', 'args', 'env', 'workdir', 'user', 'tty', 'stop', 'files', 'devices', 'driverOptions'] as const)

/** What the engine refuses in the states in which core's table forbids it. */
const GUARDS = Object.freeze(['start', 'stop', 'kill', 'pause', 'resume', 'delete', 'exec', 'rename'] as const)

export type DockerDriver = LazyDriver<typeof capabilities>

/** Docker Engine, or Podman's Docker API. Touches no host until the first call, which also loads what talks to the engine. */
export function docker(options?: DockerOptions): DockerDriver {
  const parsed = parseOptions(options)
  return lazyDriver(
    { name: 'docker', apiVersion: 1, capabilities, fields: FIELDS, durability: 'host', isolation: 'container', guards: GUARDS },
    async () => (await import('./operations.js')).operations(parsed),
    ['find'],
  )
}
