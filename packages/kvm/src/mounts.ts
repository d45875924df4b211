/** Folders of the host, and volumes, inside a machine, which the vmkit guest mounts: by 9p, which QEMU serves, or by virtiofs. */
import { statSync } from 'node:fs'
import { invalidConfig, type MachineConfig } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { DRIVER, systemError, unsupportedField } from './errors.js'
import type { Host } from './host.js'
import { machineOptions } from './machine-options.js'
import { findVirtiofsd } from './shares/virtiofsd.js'
import { volumeSource } from './volumes.js'

export interface Mount {
  kind: '9p' | 'virtiofs'
  tag: string
  source: string
  target: string
  readOnly: boolean
  /** Where the process listens that serves it. */
  socket?: string
}

export function mountsOf(config: MachineConfig): Mount[] {
  const { sharedFs: kind = '9p' } = machineOptions(config)
  const all = [
    ...config.mounts.map(({ source, target, readOnly }, index) => ({ tag: `mount${index}`, source, target, readOnly })),
    ...config.volumes.map(({ name, target, readOnly }, index) => ({ tag: `volume${index}`, source: volumeSource(name), target, readOnly })),
  ]
  return all.map((mount, index) => ({ ...mount, kind, ...(kind === 'virtiofs' ? { socket: `fs${index}.sock` } : {}) }))
}

/** @throws VMKitError naming the mount that cannot be made */
export async function checkMounts(host: Host, config: MachineConfig): Promise<void> {
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
  if (field !== undefined) await checkServers(host, config, field)
}

async function checkServers(host: Host, config: MachineConfig, field: string): Promise<void> {
  const option = `config.driverOptions.${DRIVER}.sharedFs`
  if (machineOptions(config).sharedFs !== 'virtiofs') {
    if (!(await host.qemu()).plan9) throw unsupportedField(field, `${NO_PLAN9}; driverOptions.kvm.sharedFs may be 'virtiofs'`)
    return
  }
  const program = await findVirtiofsd()
  if (typeof program === 'string') throw unsupportedField(option, program)
  if (program.readOnly) return
  for (const name of ['mounts', 'volumes'] as const) {
    const index = config[name].findIndex(({ readOnly }) => readOnly)
    if (index < 0) continue
    throw unsupportedField(
      `config.${name}.${index}.readOnly`,
      `${program.path} takes all writes, and only the guest would hold them back; 9p does`,
    )
  }
}

export const NO_PLAN9 = 'this QEMU was built without 9p (virtfs)'
