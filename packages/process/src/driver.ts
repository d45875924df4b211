import type { DriverFiles, VMDriver } from '@vmkit/core/driver'
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

type Present = 'pause' | 'resume' | 'execStream' | 'logs' | 'attach' | 'events' | 'files' | 'resize' | 'find'

export type ProcessDriver = VMDriver<typeof capabilities> & Required<Pick<VMDriver, Present>>

type Described = 'name' | 'apiVersion' | 'capabilities' | 'fields' | 'durability' | 'isolation' | 'close'
export type Operations = Omit<ProcessDriver, Described> & { files: Required<DriverFiles> }

/**
 * Host processes as machines. Nothing is touched before the first call.
 * @throws VMKitError `INVALID_CONFIG` naming the option
 */
export function processDriver(options: ProcessOptions = {}): ProcessDriver {
  const resolved = resolveOptions(options)
  let loading: Promise<Operations> | undefined
  // What the methods do is loaded with the first call: a driver should cost little by being there.
  const load = (): Promise<Operations> => (loading ??= import('./operations.js').then(({ operations }) => operations(resolved)))

  return {
    name: DRIVER,
    apiVersion: 1,
    capabilities,
    fields: FIELDS,
    durability: 'host',
    isolation: 'process',

    probe: async (...args) => (await load()).probe(...args),
    create: async (...args) => (await load()).create(...args),
    start: async (...args) => (await load()).start(...args),
    stop: async (...args) => (await load()).stop(...args),
    kill: async (...args) => (await load()).kill(...args),
    delete: async (...args) => (await load()).delete(...args),
    pause: async (...args) => (await load()).pause(...args),
    resume: async (...args) => (await load()).resume(...args),
    wait: async (...args) => (await load()).wait(...args),
    getStatus: async (...args) => (await load()).getStatus(...args),
    getInfo: async (...args) => (await load()).getInfo(...args),
    getMetrics: async (...args) => (await load()).getMetrics(...args),
    list: async (...args) => (await load()).list(...args),
    find: async (...args) => (await load()).find(...args),
    execStream: async (...args) => (await load()).execStream(...args),
    async *logs(...args) {
      yield* (await load()).logs(...args)
    },
    attach: async (...args) => (await load()).attach(...args),
    async *events(...args) {
      yield* (await load()).events(...args)
    },
    files: {
      async *read(...args) {
        yield* (await load()).files.read(...args)
      },
      write: async (...args) => (await load()).files.write(...args),
      list: async (...args) => (await load()).files.list(...args),
      remove: async (...args) => (await load()).files.remove(...args),
      async *pack(...args) {
        yield* (await load()).files.pack(...args)
      },
      unpack: async (...args) => (await load()).files.unpack(...args),
    },
    resize: async (...args) => (await load()).resize(...args),

    // Watches and timers belong to calls in flight, and end with them.
    async close() {},
  }
}
