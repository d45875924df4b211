import { type CapabilityManifest, type LazyDriver, lazyDriver, type VMDriver } from '@vmkit/core/driver'
import type { ContainerdCapabilities } from './capabilities.js'
import { type ContainerdOptions, parseOptions } from './options.js'
import type { Variation } from './variation.js'

export type ContainerdDriver = LazyDriver<ContainerdCapabilities>

/** Each looks at the task itself, under the machine's lock where that matters. */
const GUARDS = Object.freeze(['start', 'stop', 'kill', 'delete', 'exec'] as const)

const FIELDS = Object.freeze([
  'rootfs',
  'command',
  'args',
  'env',
  'workdir',
  'user',
  'tty',
  'stop',
  'files',
  'devices',
  'driverOptions',
] as const)

type Found = Required<Pick<VMDriver, 'find'>>

/** The driver, or one that is made of it: `variation` says what it changes. Touches no host until the first call. */
export function containerdDriver<C extends CapabilityManifest>(
  variation: Variation & { capabilities: C },
  options?: ContainerdOptions,
): LazyDriver<C> & Found {
  const { name, isolation } = variation
  const parsed = parseOptions({ ...variation.defaults, ...options }, name)
  // A variation claims less, and so has fewer methods: the compiler cannot follow that.
  const capabilities = variation.capabilities as unknown as ContainerdCapabilities
  const driver = lazyDriver(
    { name, apiVersion: 1, capabilities, fields: FIELDS, durability: 'host', isolation, guards: GUARDS },
    async () => (await import('./operations.js')).operations(variation, parsed),
    ['find'],
  )
  return driver as unknown as LazyDriver<C> & Found
}
