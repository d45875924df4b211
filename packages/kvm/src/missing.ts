import type { Missing } from '@vmkit/core/driver'
import { isLayer } from './disk/layers.js'
import { machineOptions } from './machine-options.js'
import { isSetByCloudInit } from './net/attach.js'
import { hasScreen } from './screen.js'
import type { MachineRecord } from './state/store.js'

/** What QEMU's guest agent cannot do for a system of its own. Whether it is there shows when it is asked. */
const FOREIGN_GUEST: Missing = {
  'exec.stream': 'its guest agent gives the output of a command at its end',
  'exec.tty': 'its guest agent has no terminals; use console()',
  attach: 'it boots a system of its own, which has no main process; use console()',
  'files.archive': 'its guest agent moves single files; use files, or tar by exec()',
  'clone.memory': 'nobody in the guest would give the clone a name, addresses and randomness of its own',
  'limits.pids': 'it boots a system of its own, which limits its processes itself',
}

/** What one machine lacks although its host has it, each with the reason. */
export function missingOf({ boot, config }: Pick<MachineRecord, 'boot' | 'config'>): Missing | undefined {
  const missing: Missing = {}
  const written = boot.disks.filter(({ readOnly, bus }) => !readOnly && bus !== 'cdrom')
  const foreign = written.find(({ path, format }) => format !== 'qcow2' || !isLayer(path))
  if (foreign) {
    const reason = `the disk ${foreign.id} is a file outside of the machine, which snapshots, clones and migrations cannot take along`
    Object.assign(missing, {
      'snapshot.disk': reason,
      'snapshot.memory': reason,
      clone: reason,
      'clone.memory': reason,
      'migrate.cold': reason,
      'migrate.live': reason,
      bundle: reason,
    })
  } else if (written.length === 0) {
    missing['snapshot.disk'] = 'it has no disk of its own'
  }
  const device = config.devices.find(({ type }) => type !== 'disk') ?? config.devices.find((disk) => disk.type === 'disk' && !disk.readOnly)
  if (device) {
    const reason = `its device ${device.id} is not its own: detach it first`
    for (const capability of [
      'snapshot.disk',
      'snapshot.memory',
      'clone',
      'clone.memory',
      'migrate.cold',
      'migrate.live',
      'bundle',
    ] as const)
      missing[capability] = reason
  }
  if (config.mounts.length + config.volumes.length > 0) {
    const reason = 'QEMU does not save a machine that has a folder of the host mounted'
    for (const capability of ['snapshot.memory', 'clone.memory', 'migrate.live'] as const) missing[capability] = reason
  }
  if (config.networks.length > 0) missing['migrate.live'] = 'its addresses are those of networks of this host, and its memory holds them'
  if (isSetByCloudInit(config)) {
    const reason = 'its seed for cloud-init has the addresses of its networks, which are its own'
    for (const capability of ['clone', 'migrate.cold', 'bundle'] as const) missing[capability] = reason
  }
  if (!boot.disks.some(({ id }) => id === 'disk')) missing.bundle = 'a bundle carries a disk, and it has none'
  if (boot.process === undefined) Object.assign(missing, FOREIGN_GUEST)
  if (machineOptions(config).machine === 'microvm') missing.devices = 'a microvm takes no devices while it runs'
  if (!hasScreen({ config })) missing.vnc = 'it has no screen; driverOptions.kvm.screen gives it one'
  return Object.keys(missing).length > 0 ? missing : undefined
}
