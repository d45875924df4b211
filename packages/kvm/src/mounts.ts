/** Folders of the host inside a machine, by 9p: QEMU serves them, the vmkit guest mounts them. */
import { statSync } from 'node:fs'
import { invalidConfig, type MachineConfig } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { DRIVER, systemError, unsupportedField } from './errors.js'

export interface Mount {
  kind: '9p'
  tag: string
  source: string
  target: string
  readOnly: boolean
}

export function mountsOf({ mounts }: Pick<MachineConfig, 'mounts'>): Mount[] {
  return mounts.map(({ source, target, readOnly }, index) => ({ kind: '9p', tag: `mount${index}`, source, target, readOnly }))
}

/** @throws VMKitError naming the mount that cannot be made */
export function checkMounts(config: MachineConfig): void {
  for (const [index, { source }] of config.mounts.entries()) {
    const field = `config.mounts.${index}.source`
    try {
      if (statSync(source).isDirectory()) continue
    } catch (error) {
      if (errno(error) !== 'ENOENT' && errno(error) !== 'ENOTDIR') throw systemError(error, { operation: 'create', field })
    }
    throw invalidConfig(field, 'a folder that exists', source, { driver: DRIVER, operation: 'create' })
  }
  if (config.mounts.length > 0 && config.image === undefined && config.rootfs === undefined) {
    throw unsupportedField('config.mounts', 'only the vmkit guest, which runs images and root file systems, mounts them')
  }
}
