/** A device of a config as part of a machine's spec: pure. */
import { createHash } from 'node:crypto'
import type { DeviceConfig } from '@vmkit/core/driver'
import type { DiskSpec, MachineSpec, NicSpec } from './qemu/machine-spec.js'

export interface DeviceSpec {
  disk?: DiskSpec
  nic?: NicSpec
  pci?: MachineSpec['pci'][number]
}

/** QEMU's own names are short and of few characters; a user's are not. */
export function qemuId(id: string): string {
  return `x${createHash('sha256').update(id).digest('hex').slice(0, 12)}`
}

export function hotplugPort(index: number): string {
  return `hotplug${index}`
}

/** The device has its id, and what else `resolveDevice` fills in. */
export function deviceSpec(device: DeviceConfig, port: string | undefined): DeviceSpec {
  const id = qemuId(device.id ?? '')
  const at = port === undefined ? {} : { port }
  switch (device.type) {
    case 'disk':
      return {
        disk: {
          id,
          path: device.path,
          format: device.format ?? 'raw',
          readOnly: device.readOnly ?? false,
          serial: serialOf(device.id ?? ''),
          ...at,
        },
      }
    case 'nic':
      return {
        nic: {
          id,
          mac: device.mac ?? '',
          backend: device.network === undefined ? { kind: 'user', forwards: [] } : { kind: 'bridge', bridge: device.network },
          ...at,
        },
      }
    case 'pci':
      return { pci: { id, address: device.address, ...at } }
    default:
      return {}
  }
}

/** By which the guest finds it in /dev/disk/by-id; virtio has room for 20 bytes. */
function serialOf(id: string): string {
  return id.length <= 20 ? id : qemuId(id)
}
