import { type LazyDriver, lazyDriver, type VMDriver } from '@vmkit/core/driver'
import { capabilities } from './capabilities.js'
import { DRIVER, type ProcessOptions, resolveOptions } from './options.js'

export type { ProcessMachineOptions } from './limits.js'
export type { ProcessOptions } from './options.js'
export { capabilities }

const FIELDS: VMDriver['fields'] = Object.freeze([
  'command',
  'args',
  'env',
  'workdir',
  'user',
  'tty',
  'stop',
  'files',
  'driverOptions',
] as const)

export type ProcessDriver = LazyDriver<typeof capabilities> & Required<Pick<VMDriver, 'find'>>

/**
 * Host processes as machines. Nothing is touched before the first call.
 * @throws VMKitError `INVALID_CONFIG` naming the option
 */
export function processDriver(options: ProcessOptions = {}): ProcessDriver {
  const resolved = resolveOptions(options)
  return lazyDriver(
    { name: DRIVER, apiVersion: 1, capabilities, fields: FIELDS, durability: 'host', isolation: 'process' },
    async () => (await import('./operations.js')).operations(resolved),
    ['find'],
  )
}
