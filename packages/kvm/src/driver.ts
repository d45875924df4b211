import { type LazyDriver, lazyDriver, type VMDriver } from '@vmkit/core/driver'
import type { GuestInfo } from './about/guest-info.js'
import { capabilities } from './capabilities.js'
import { DRIVER } from './name.js'
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

/** `running.ts` looks at the state under the machine's lock. */
const GUARDS = Object.freeze(['pause', 'resume'] as const)

/** What other drivers do not have, with the id or the name of a machine: apps call it as `manager.driver('kvm').extras`. */
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

export type KvmDriver = LazyDriver<typeof capabilities> & Required<Pick<VMDriver, 'find'>> & KvmExtras & { readonly extras: KvmExtras }

/**
 * QEMU/KVM virtual machines. Nothing is touched before the first call.
 * @throws VMKitError `INVALID_CONFIG` naming the option
 */
export function kvm(options: KvmOptions = {}): KvmDriver {
  const resolved = resolveOptions(options)
  const driver = lazyDriver(
    { name: DRIVER, apiVersion: 1, capabilities, fields: FIELDS, durability: 'host', isolation: 'vm', guards: GUARDS },
    async () => (await import('./operations.js')).operations(resolved),
    ['find', 'reset', 'guestInfo'],
  )
  const { reset, guestInfo } = driver
  return Object.assign(driver, { extras: { reset, guestInfo } })
}
