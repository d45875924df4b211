import { limitOf } from '@vmkit/core/driver'
import { untilChange } from '@vmkit/core/state-folder'
import { channelDevice } from '../boot/channels.js'
import { readEventLog } from '../state/event-log.js'
import type { Machine } from '../state/store.js'

const POLL_MS = 20

/** Whether a program of the guest holds the port, by QEMU's own log. */
export function isPortOpen({ boot, folder }: Pick<Machine, 'boot' | 'folder'>, name: string): boolean {
  const device = channelDevice(boot, name)
  const changes = readEventLog(folder.events).filter(({ event, data }) => event === 'VSERPORT_CHANGE' && data.id === device)
  return changes.at(-1)?.data.open === true
}

/** Resolves when it does, and after `ms` at the latest. @throws the reason of `signal` */
export async function untilPortOpen(
  machine: Pick<Machine, 'boot' | 'folder'>,
  name: string,
  ms: number,
  signal: AbortSignal,
): Promise<void> {
  using limit = limitOf(signal, ms)
  await untilChange(machine.folder.path, limit.signal, POLL_MS, () => (isPortOpen(machine, name) ? true : undefined)).catch(() => {})
  signal.throwIfAborted()
}
