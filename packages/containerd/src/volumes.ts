/** Named volumes: folders of this host, each with a file that tells its labels. */

import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type DriverVolumes, invalidConfig, type MachineConfig, VMKitError, type VolumeInfo } from '@vmkit/core/driver'
import { type Host, listMachines } from './host.js'
import { privateFolder } from './state-dir.js'
import { isAlive } from './tool.js'

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
      return namesOf(host).flatMap((name) => infoOf(host, name) ?? [])
    },
    async remove(name, ctx) {
      checkName(name)
      if (!infoOf(host, name)) throw new VMKitError('NOT_FOUND', `There is no volume ${name}`, { driver: host.driver })
      const user = (await listMachines(host, ctx)).find(({ record }) => record.config.volumes.some((volume) => volume.name === name))
      if (user) throw new VMKitError('CONFLICT', `The volume ${name} is used by ${user.name}`, { driver: host.driver })
      // Renamed first: nobody finds a volume that is half gone.
      const doomed = join(host.root, 'volumes', `.gone-${process.pid}-${randomBytes(6).toString('hex')}`)
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
    return volumeData(host, name)
  })
  return {
    folders,
    undo: () => dropVolumes(host, made),
  }
}

/** Whether it is new. */
function make(host: Host, name: string, labels: Record<string, string>): boolean {
  return !existsSync(folderOf(host, name)) && finish(host, begin(host, { labels }), name)
}

interface Kept {
  labels: Record<string, string>
  /** The migration that it came with, for as long as that may be taken back. */
  incoming?: string
}

/** A folder that nobody finds yet, named after the process that fills it. */
function begin(host: Host, kept: Kept): string {
  const fresh = join(privateFolder(join(host.root, 'volumes')), `.new-${process.pid}-${randomBytes(6).toString('hex')}`)
  mkdirSync(join(fresh, 'data'), { recursive: true, mode: 0o755 })
  writeFileSync(join(fresh, 'volume.json'), JSON.stringify({ ...kept, createdAt: Date.now() }), { mode: 0o600 })
  return fresh
}

/** Whether the name was free. It appears as a whole, by a rename. */
function finish(host: Host, fresh: string, name: string): boolean {
  try {
    renameSync(fresh, folderOf(host, name))
    return true
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true })
    if ((error as NodeJS.ErrnoException).code === 'ENOTEMPTY' || (error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** @throws VMKitError `CONFLICT` when one of them is there, as it would be overwritten */
export function refuseTakenVolumes(host: Host, volumes: MachineConfig['volumes']): void {
  for (const { name } of volumes) {
    checkName(name)
    if (existsSync(folderOf(host, name))) throw taken(host, name)
  }
}

function taken({ driver }: Host, name: string): VMKitError {
  return new VMKitError('CONFLICT', `The target has a volume ${name} already, which would be overwritten`, {
    driver,
    field: 'config.volumes',
  })
}

/** The folder of a volume's content. */
export const volumeData = (host: Host, name: string): string => join(folderOf(host, name), 'data')

/** A new volume that `fill` puts the content into. @throws VMKitError `CONFLICT` for a taken name */
export async function makeFilled(host: Host, name: string, kept: Kept, fill: (folder: string) => Promise<void>): Promise<void> {
  const fresh = begin(host, kept)
  try {
    await fill(join(fresh, 'data'))
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true })
    throw error
  }
  if (!finish(host, fresh, name)) throw taken(host, name)
}

export function dropVolumes(host: Host, names: readonly string[]): void {
  for (const name of names) rmSync(folderOf(host, name), { recursive: true, force: true })
}

/** Volumes that came with a migration. */
export function incomingVolumes(host: Host, ticket: string): string[] {
  return namesOf(host).filter((name) => keptOf(host, name)?.incoming === ticket)
}

/** What programs that were killed have begun to fill, or to remove. */
export function sweepVolumes(host: Host): void {
  const parent = join(host.root, 'volumes')
  if (!existsSync(parent)) return
  for (const name of readdirSync(parent)) {
    const [, pid] = /^\.(?:new|gone)-(\d+)-/.exec(name) ?? []
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(parent, name), { recursive: true, force: true })
  }
}

function infoOf(host: Host, name: string): VolumeInfo | undefined {
  const kept = keptOf(host, name)
  return kept && { name, labels: kept.labels, createdAt: kept.createdAt }
}

function keptOf(host: Host, name: string): (Omit<VolumeInfo, 'name'> & Kept) | undefined {
  try {
    return JSON.parse(readFileSync(join(folderOf(host, name), 'volume.json'), 'utf8')) as Omit<VolumeInfo, 'name'> & Kept
  } catch {
    return undefined
  }
}

function namesOf(host: Host): string[] {
  const parent = join(host.root, 'volumes')
  return existsSync(parent) ? readdirSync(parent).filter((name) => NAME.test(name)) : []
}

function checkName(name: string): void {
  if (!NAME.test(name)) throw invalidConfig('name', 'letters, digits, `_`, `.`, `-`, not starting with a sign', name)
}
