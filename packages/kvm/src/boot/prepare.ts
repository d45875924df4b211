/** Makes what a machine boots from, in its folder, at create. */
import type { CallContext, MachineConfig } from '@vmkit/core/driver'
import { createDisk, inspectDisk } from '../disk/image-file.js'
import { unsupportedField } from '../errors.js'
import type { Host } from '../host.js'
import type { KvmMachineOptions } from '../machine-options.js'
import type { BootPlan } from '../qemu/machine-spec.js'
import { FILES, type MachineFolder } from '../state/machine-folder.js'

export async function prepareBoot(
  _host: Host,
  config: MachineConfig,
  _options: KvmMachineOptions,
  folder: MachineFolder,
  _ctx: CallContext,
): Promise<BootPlan> {
  const { kernel, disk } = config
  if (!kernel && !disk) throw unsupportedField('config', 'it names nothing to boot')
  const base = disk?.image === undefined ? undefined : await inspectDisk(disk.image, 'config.disk.image')
  if (disk) await createDisk({ path: folder.disk, ...(disk.size === undefined ? {} : { size: disk.size }), ...(base ? { base } : {}) })
  return {
    kind: kernel ? 'kernel' : 'disk',
    ...(kernel ? { kernel: { ...kernel, cmdline: kernel.cmdline ?? '' } } : {}),
    disks: disk ? [{ id: 'disk', path: FILES.disk, format: 'qcow2', bootIndex: 0 }] : [],
    channels: [],
    agent: 'unknown',
    reportsExit: false,
  }
}
