/** What the driver tells of a machine. */
import type { SnapshotInfo, VMInfo, VMStatus } from '@vmkit/core/driver'
import type { Machine, SavedState } from './machine.js'

export function statusOf({ state, exit, health, main }: Machine): VMStatus {
  return { state, ...(exit && !main ? { exit } : {}), ...(health ? { health } : {}) }
}

export function summaryOf({ id, config, state, createdAt }: Machine) {
  return { id, name: config.name, driver: 'mock', state, labels: config.labels, createdAt }
}

export function infoOf(machine: Machine): VMInfo {
  return {
    ...summaryOf(machine),
    ...statusOf(machine),
    config: { ...machine.config, ...machine.limits },
    addresses: [],
    ports: machine.ports,
    startedAt: machine.startedAt,
    pid: null,
    details: { devices: [...machine.devices.keys()] },
  }
}

export function snapshotInfo({ tag, createdAt, memory, disk }: SavedState): SnapshotInfo {
  return { tag, createdAt, memory: memory !== undefined, sizeBytes: disk.bytes }
}
