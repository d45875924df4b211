import type { VMDriver } from '@vmkit/core/driver'
import type { GuestInfo } from './about/guest-info.js'
import { capabilities } from './capabilities.js'
import { DRIVER } from './name.js'
import type { Operations } from './operations.js'
import { type KvmOptions, resolveOptions } from './options.js'

export type { GuestAddress, GuestInfo, GuestInterface } from './about/guest-info.js'
export type { KvmMachineOptions } from './machine-options.js'
export type { KvmOptions } from './options.js'
export { capabilities }

const FIELDS: VMDriver['fields'] = Object.freeze([
  'image',
  'pull',
  'rootfs',
  'kernel',
  'disk',
  'command',
  'args',
  'env',
  'workdir',
  'user',
  'tty',
  'stdin',
  'files',
  'cloudInit',
  'stop',
  'driverOptions',
] as const)

type Present = 'pause' | 'resume' | 'find'

/** What other drivers do not have: called on the driver itself, with the id or the name of a machine. */
export interface KvmExtras {
  /**
   * The reset button. What the guest had in memory is gone, and it boots again. Resolves at the reset, for machines of an image when
   * they are up again. @throws VMKitError `INVALID_STATE` unless it runs
   */
  reset(idOrName: string, options?: { signal?: AbortSignal }): Promise<void>
  /**
   * Host name, system and addresses, as the guest tells them; `info()` has the same in `details.guest`, or null.
   * @throws VMKitError `GUEST_ERROR` when no agent answers in the guest, `INVALID_STATE` unless it runs
   */
  guestInfo(idOrName: string, options?: { signal?: AbortSignal }): Promise<GuestInfo>
}

export type KvmDriver = VMDriver<typeof capabilities> & Required<Pick<VMDriver, Present>> & KvmExtras

/**
 * QEMU/KVM virtual machines. Nothing is touched before the first call.
 * @throws VMKitError `INVALID_CONFIG` naming the option
 */
export function kvm(options: KvmOptions = {}): KvmDriver {
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
    isolation: 'vm',

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
    async *logs(...args) {
      yield* (await load()).logs(...args)
    },
    async *events(...args) {
      yield* (await load()).events(...args)
    },
    attach: async (...args) => (await load()).attach(...args),
    execStream: async (...args) => (await load()).execStream(...args),
    console: async (...args) => (await load()).console(...args),
    vnc: async (...args) => (await load()).vnc(...args),
    screenshot: async (...args) => (await load()).screenshot(...args),
    attachDevice: async (...args) => (await load()).attachDevice(...args),
    detachDevice: async (...args) => (await load()).detachDevice(...args),
    resize: async (...args) => (await load()).resize(...args),
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
    snapshot: async (...args) => (await load()).snapshot(...args),
    restore: async (...args) => (await load()).restore(...args),
    listSnapshots: async (...args) => (await load()).listSnapshots(...args),
    deleteSnapshot: async (...args) => (await load()).deleteSnapshot(...args),
    clone: async (...args) => (await load()).clone(...args),
    async *exportBundle(...args) {
      yield* (await load()).exportBundle(...args)
    },
    importBundle: async (...args) => (await load()).importBundle(...args),
    prepareIncoming: async (...args) => (await load()).prepareIncoming(...args),
    migrateOut: async (...args) => (await load()).migrateOut(...args),
    finishIncoming: async (...args) => (await load()).finishIncoming(...args),
    cancelIncoming: async (...args) => (await load()).cancelIncoming(...args),
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
    reset: async (...args) => (await load()).reset(...args),
    guestInfo: async (...args) => (await load()).guestInfo(...args),

    async close() {
      await (await loading)?.close()
    },
  }
}
