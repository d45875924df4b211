import { type Guests, guests } from './agent/guests.js'
import type { ResolvedOptions } from './options.js'
import { type AccelChoice, chooseAccel } from './qemu/accel.js'
import { type QemuBinary, qemuBinary } from './qemu/binary.js'
import type { Accelerator } from './qemu/machine-spec.js'
import { type Store, store } from './state/store.js'

/** What the driver's parts share. Made without touching the host. */
export interface Host {
  readonly options: ResolvedOptions
  readonly store: Store
  readonly guests: Guests
  /** @throws VMKitError `BACKEND_UNAVAILABLE` */
  qemu(): Promise<QemuBinary>
  /** @throws VMKitError `UNSUPPORTED` or `PERMISSION_DENIED` when KVM is asked for and cannot be opened */
  accel(wanted: Accelerator | 'auto' | undefined, signal: AbortSignal): Promise<AccelChoice>
}

export function makeHost(options: ResolvedOptions): Host {
  const qemu = (): Promise<QemuBinary> => qemuBinary(options.binary)
  return {
    options,
    store: store(options.stateDir),
    guests: guests(),
    qemu,
    accel: async (wanted = options.accel, signal) => chooseAccel(wanted, await qemu(), options.stateDir, signal),
  }
}
