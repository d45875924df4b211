import { channelDevice } from '../boot/channels.js'
import { readEventLog } from '../state/event-log.js'
import type { Machine } from '../state/store.js'

/** Whether a program of the guest holds the port, by QEMU's own log. */
export function isPortOpen({ boot, folder }: Pick<Machine, 'boot' | 'folder'>, name: string): boolean {
  const device = channelDevice(boot, name)
  const changes = readEventLog(folder.events).filter(({ event, data }) => event === 'VSERPORT_CHANGE' && data.id === device)
  return changes.at(-1)?.data.open === true
}
