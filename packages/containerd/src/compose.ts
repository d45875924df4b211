import { CAPABILITIES, CAPABILITY_TABLE, type CapabilityManifest, type VMDriver, VMKitError } from '@vmkit/core/driver'
import type { ContainerdCapabilities } from './capabilities.js'
import type { Operations } from './operations.js'
import { type ContainerdOptions, parseOptions } from './options.js'
import type { Variation } from './variation.js'

export type ContainerdDriver = VMDriver<ContainerdCapabilities>

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

/** The driver, or one that is made of it: `variation` says what it changes. Touches no host until the first call. */
export function containerdDriver<C extends CapabilityManifest>(
  variation: Variation & { capabilities: C },
  options?: ContainerdOptions,
): VMDriver<C> {
  const { name } = variation
  const parsed = parseOptions({ ...variation.defaults, ...options }, name)
  let isClosed = false
  let loaded: Promise<Operations> | undefined
  const load = async (): Promise<Operations> => {
    if (isClosed) throw new VMKitError('INVALID_STATE', 'The driver was closed', { driver: name })
    loaded ??= import('./operations.js').then(({ operations }) => operations(variation, parsed))
    return loaded
  }

  const whole: VMDriver<ContainerdCapabilities> = {
    name,
    apiVersion: 1,
    capabilities: variation.capabilities as unknown as ContainerdCapabilities,
    fields: FIELDS,
    durability: 'host',
    isolation: variation.isolation,
    guards: GUARDS,
    ...deferred(load),
    async close() {
      isClosed = true
      ;(await loaded)?.close()
    },
  }
  return only(whole, variation.capabilities) as unknown as VMDriver<C>
}

type Described = 'name' | 'apiVersion' | 'capabilities' | 'fields' | 'durability' | 'isolation' | 'guards' | 'close'

/** The operations by name; each loads all of them when it is first called. */
function deferred(load: () => Promise<Operations>): Omit<ContainerdDriver, Described> {
  return {
    probe: async (...args) => (await load()).probe(...args),
    create: async (...args) => (await load()).create(...args),
    start: async (...args) => (await load()).start(...args),
    stop: async (...args) => (await load()).stop(...args),
    kill: async (...args) => (await load()).kill(...args),
    delete: async (...args) => (await load()).delete(...args),
    getStatus: async (...args) => (await load()).getStatus(...args),
    getInfo: async (...args) => (await load()).getInfo(...args),
    getMetrics: async (...args) => (await load()).getMetrics(...args),
    list: async (...args) => (await load()).list(...args),
    find: async (...args) => (await load()).find(...args),
    wait: async (...args) => (await load()).wait(...args),
    pause: async (...args) => (await load()).pause(...args),
    resume: async (...args) => (await load()).resume(...args),
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
    snapshot: async (...args) => (await load()).snapshot(...args),
    restore: async (...args) => (await load()).restore(...args),
    listSnapshots: async (...args) => (await load()).listSnapshots(...args),
    deleteSnapshot: async (...args) => (await load()).deleteSnapshot(...args),
    clone: async (...args) => (await load()).clone(...args),
    prepareIncoming: async (...args) => (await load()).prepareIncoming(...args),
    migrateOut: async (...args) => (await load()).migrateOut(...args),
    finishIncoming: async (...args) => (await load()).finishIncoming(...args),
    cancelIncoming: async (...args) => (await load()).cancelIncoming(...args),
    async *exportBundle(...args) {
      yield* (await load()).exportBundle(...args)
    },
    importBundle: async (...args) => (await load()).importBundle(...args),
    images: {
      pull: async (...args) => (await load()).images.pull(...args),
      list: async (...args) => (await load()).images.list(...args),
      remove: async (...args) => (await load()).images.remove(...args),
      import: async (...args) => (await load()).images.import(...args),
    },
    volumes: {
      create: async (...args) => (await load()).volumes.create(...args),
      list: async (...args) => (await load()).volumes.list(...args),
      remove: async (...args) => (await load()).volumes.remove(...args),
    },
    networks: {
      create: async (...args) => (await load()).networks.create(...args),
      list: async (...args) => (await load()).networks.list(...args),
      remove: async (...args) => (await load()).networks.remove(...args),
    },
  }
}

/** Methods exist exactly where their capability is claimed: those of a capability that a variation lacks go. */
function only(driver: VMDriver<ContainerdCapabilities>, claimed: CapabilityManifest): VMDriver {
  const kept: Partial<VMDriver> & Record<string, unknown> = { ...driver }
  for (const capability of CAPABILITIES) {
    if (claimed[capability] !== undefined) continue
    for (const method of CAPABILITY_TABLE[capability].methods) {
      const [name = ''] = method.split('|')[0]?.split('.') ?? []
      const isNeeded = CAPABILITIES.some(
        (other) =>
          claimed[other] !== undefined &&
          CAPABILITY_TABLE[other].methods.some((own) => own.split('|').some((each) => each.split('.')[0] === name)),
      )
      if (!isNeeded) delete kept[name]
    }
  }
  return kept as unknown as VMDriver
}
