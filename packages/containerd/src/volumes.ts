/** Named volumes: folders of this host, each with a file that tells its labels. */

import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type DriverVolumes, invalidConfig, type MachineConfig, VMKitError, type VolumeInfo } from '@vmkit/core/driver'
import { type Host, listMachines } from './host.js'
import { privateFolder } from './state-dir.js'

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/

const folderOf = (host: Host, name: string): string => join(host.root, 'volumes', name)

export function containerdVolumes(host: Host): DriverVolumes {
  return {
    async create(name, labels) {
      checkName(name)
      if (!make(host, name, labels)) throw new VMKitError('ALREADY_EXISTS', `There is a volume ${name} already`, { driver: host.driver })
      return infoOf(host, name) as VolumeInfo
    },
    async list() {
      const parent = join(host.root, 'volumes')
      const names = existsSync(parent) ? readdirSync(parent).filter((name) => NAME.test(name)) : []
      return names.flatMap((name) => infoOf(host, name) ?? [])
    },
    async remove(name, ctx) {
      checkName(name)
      if (!infoOf(host, name)) throw new VMKitError('NOT_FOUND', `There is no volume ${name}`, { driver: host.driver })
      const user = (await listMachines(host, ctx)).find(({ record }) => record.config.volumes.some((volume) => volume.name === name))
      if (user) throw new VMKitError('CONFLICT', `The volume ${name} is used by ${user.name}`, { driver: host.driver })
      // Renamed first: nobody finds a volume that is half gone.
      const doomed = join(host.root, 'volumes', `.gone-${randomBytes(6).toString('hex')}`)
      renameSync(folderOf(host, name), doomed)
      rmSync(doomed, { recursive: true, force: true })
    },
  }
}

/** The folders behind the volumes of a config, made where they are missing. `undo` takes back what was made. */
export function ensureVolumes(host: Host, { volumes }: MachineConfig): { folders: string[]; undo(): void } {
  const made: string[] = []
  const folders = volumes.map(({ name }, index) => {
    if (!NAME.test(name)) throw invalidConfig(`config.volumes.${index}.name`, 'letters, digits, `_`, `.`, `-`', name)
    if (make(host, name, {})) made.push(name)
    return join(folderOf(host, name), 'data')
  })
  return {
    folders,
    undo() {
      for (const name of made) rmSync(folderOf(host, name), { recursive: true, force: true })
    },
  }
}

/** Whether it is new. It appears as a whole, by a rename. */
function make(host: Host, name: string, labels: Record<string, string>): boolean {
  if (existsSync(folderOf(host, name))) return false
  const fresh = join(privateFolder(join(host.root, 'volumes')), `.new-${randomBytes(6).toString('hex')}`)
  mkdirSync(join(fresh, 'data'), { recursive: true, mode: 0o755 })
  writeFileSync(join(fresh, 'volume.json'), JSON.stringify({ labels, createdAt: Date.now() }), { mode: 0o600 })
  try {
    renameSync(fresh, folderOf(host, name))
    return true
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true })
    if ((error as NodeJS.ErrnoException).code === 'ENOTEMPTY' || (error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function infoOf(host: Host, name: string): VolumeInfo | undefined {
  try {
    const { labels, createdAt } = JSON.parse(readFileSync(join(folderOf(host, name), 'volume.json'), 'utf8')) as Omit<VolumeInfo, 'name'>
    return { name, labels, createdAt }
  } catch {
    return undefined
  }
}

function checkName(name: string): void {
  if (!NAME.test(name)) throw invalidConfig('name', 'letters, digits, `_`, `.`, `-`, not starting with a sign', name)
}
