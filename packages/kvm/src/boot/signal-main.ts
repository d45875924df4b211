import { guests } from '../agent/guests.js'
import { request } from '../agent/request.js'
import { signalNumber } from '../agent/session.js'
import type { Machine } from '../state/store.js'

/** Sends a signal to the main process of an image. Waits until the guest takes it. `undefined`: the image's own stop signal, else SIGTERM. */
export async function signalMain(machine: Machine, signalName: string | undefined, signal: AbortSignal): Promise<void> {
  const number = signalNumber(signalName ?? machine.boot.stopSignal ?? 'SIGTERM')
  const own = guests()
  try {
    await own.use(machine, signal, (port) =>
      request(
        port,
        [
          ['op', 'signal'],
          ['signal', String(number)],
        ],
        signal,
      ),
    )
  } finally {
    own.close()
  }
}
