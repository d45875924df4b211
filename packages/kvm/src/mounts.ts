/** Folders of the host, and volumes, inside a machine, by 9p: QEMU serves them, the vmkit guest mounts them. */
import { statSync } from 'node:fs'
import { invalidConfig, type MachineConfig } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { DRIVER, systemError, unsupportedField } from './errors.js'
import { volumeSource } from './volumes.js'

export interface Mount {
  kind: '9p'
  tag: string
  source: string
  target: string
  readOnly: boolean
}

export function mountsOf({ mounts, volumes }: Pick<MachineConfig, 'mounts' | 'volumes'>): Mount[] {
  return [
    ...mounts.map(({ source, target, readOnly }, index) => ({ kind: '9p', tag: `mount${index}`, source, target, readOnly }) as const),
    ...volumes.map(
      ({ name, target, readOnly }, index) => ({ kind: '9p', tag: `volume${index}`, source: volumeSource(name), target, readOnly }) as const,
    ),
  ]
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
  const field = config.mounts.length > 0 ? 'config.mounts' : config.volumes.length > 0 ? 'config.volumes' : undefined
  if (field !== undefined && config.image === undefined && config.rootfs === undefined) {
    throw unsupportedField(field, 'only the vmkit guest, which runs images and root file systems, mounts them')
  }
}
