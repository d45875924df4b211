import { VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'
import type { DiskSpec } from '../qemu/machine-spec.js'
import type { Machine } from '../state/store.js'
import { isLayer } from './layers.js'

/** The disks that a snapshot holds: those that the machine writes to. @throws VMKitError `UNSUPPORTED` for one that is not its own */
export function ownDisks({ id, boot }: Machine): DiskSpec[] {
  const written = boot.disks.filter(({ readOnly, bus }) => !readOnly && bus !== 'cdrom')
  const foreign = written.find(({ path, format }) => format !== 'qcow2' || !isLayer(path))
  if (foreign) {
    throw new VMKitError(
      'UNSUPPORTED',
      `The disk ${foreign.id} is a file outside of the machine (${foreign.path}): a snapshot cannot hold it`,
      {
        driver: DRIVER,
        vmId: id,
        capability: 'snapshot.disk',
        hint: 'Give the machine only disks of its own, or read-only ones',
      },
    )
  }
  return written
}

export function withTops(disks: readonly DiskSpec[], tops: Readonly<Record<string, string>>): DiskSpec[] {
  return disks.map((disk) => ({ ...disk, path: tops[disk.id] ?? disk.path }))
}
