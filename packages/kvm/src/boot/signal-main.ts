import { VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'
import type { Machine } from '../state/store.js'

/** Sends a signal to the main process of an image. Waits until the guest takes it. `undefined`: the image's own stop signal, else SIGTERM. */
export async function signalMain(machine: Machine, signalName: string | undefined, _signal: AbortSignal): Promise<void> {
  throw new VMKitError('UNSUPPORTED', `no way to send ${signalName ?? 'SIGTERM'}`, { driver: DRIVER, vmId: machine.id })
}
