/** Control groups, where the host has them and lets us: which version, which controllers, and why not. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { VMMetrics } from '@vmkit/core/driver'
import { systemError } from './errors.js'

export type Controller = 'cpu' | 'memory' | 'pids'
export const CONTROLLERS: readonly Controller[] = ['cpu', 'memory', 'pids']

export interface Limits {
  cpus?: number
  memory?: number
  pids?: number
}

/** The groups of one machine; plain data, kept in its folder. */
export interface CgroupRecord {
  version: 1 | 2
  /** Folder by controller; for version 2 the one folder, under `unified`. */
  folders: Record<string, string>
}

/** What both versions can do. */
export interface CgroupVersion {
  readonly version: 1 | 2
  /** Why a controller cannot be used; absent when it can. */
  readonly missing: Readonly<Partial<Record<Controller, string>>>
  /** Makes the groups a machine with these limits needs. Leaves nothing when it fails. */
  create(id: string, limits: Limits): CgroupRecord
}

export interface Mount {
  path: string
  /** Folder of the hierarchy that is mounted there. */
  root: string
  type: string
  options: readonly string[]
  readOnly: boolean
}

/** /proc/self/mountinfo, proc(5): `id parent major:minor root path options [optional...] - type source super-options`. */
export function parseMounts(mountinfo: string): Mount[] {
  const mounts: Mount[] = []
  for (const line of mountinfo.split('\n')) {
    const [left, right] = line.split(' - ')
    const fields = left?.split(' ') ?? []
    const [type, , superOptions = ''] = right?.split(' ') ?? []
    if (type !== 'cgroup' && type !== 'cgroup2') continue
    const readOnly = (fields[5] ?? '').split(',').includes('ro')
    mounts.push({
      root: unescapeOctal(fields[3] ?? '/'),
      path: unescapeOctal(fields[4] ?? ''),
      type,
      options: superOptions.split(','),
      readOnly,
    })
  }
  return mounts
}

// Spaces and the like are octal there.
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

/** /proc/self/cgroup: path by controller; the one of version 2 under the empty name. */
export function parseOwnGroups(text: string): Map<string, string> {
  const groups = new Map<string, string>()
  for (const line of text.split('\n')) {
    const match = /^\d+:([^:]*):(.*)$/.exec(line)
    if (match) for (const name of (match[1] as string).split(',')) groups.set(name, match[2] as string)
  }
  return groups
}

/** The folder of a group as it is seen through a mount; `undefined` when it lies outside of what is mounted. */
export function folderIn(mount: Mount, group: string): string | undefined {
  if (mount.root === '/') return join(mount.path, group)
  if (group === mount.root) return mount.path
  return group.startsWith(`${mount.root}/`) ? join(mount.path, group.slice(mount.root.length)) : undefined
}

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1').trim()
  } catch {
    return undefined
  }
}

export function writeText(path: string, text: string): void {
  try {
    writeFileSync(path, text)
  } catch (error) {
    throw systemError(error, { hint: `Writing ${JSON.stringify(text)} to ${path} failed` })
  }
}

/** Lines of `key value`; what is no number is left out. */
export function parseKeyed(text: string | undefined): Record<string, number> {
  const values: Record<string, number> = {}
  for (const line of text?.split('\n') ?? []) {
    const [key, value] = line.split(' ')
    if (key !== undefined && value !== undefined && Number.isFinite(Number(value))) values[key] = Number(value)
  }
  return values
}

/** A number, or `null` for `max`, for the largest page-aligned number that version 1 uses as such, and for nothing. */
export function parseLimit(text: string | undefined): number | null {
  const value = Number(text)
  return text === undefined || text === '' || !Number.isFinite(value) || value >= 2 ** 62 ? null : value
}

export function parsePids(text: string | undefined): number[] {
  return (text ?? '')
    .split('\n')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid > 0)
}

/** Makes all, or none. */
export function makeFolders(folders: Iterable<string>, fill: () => void): void {
  const made: string[] = []
  try {
    for (const folder of folders) {
      if (existsSync(folder)) continue
      mkdirSync(folder, { recursive: true })
      made.push(folder)
    }
    fill()
  } catch (error) {
    for (const folder of made.reverse()) removeFolder(folder)
    throw systemError(error)
  }
}

export function removeFolder(folder: string): boolean {
  try {
    rmdirSync(folder)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
  }
}

/** Which controllers the limits need. */
export function controllersOf({ cpus, memory, pids }: Limits): Controller[] {
  return CONTROLLERS.filter((name) => ({ cpu: cpus, memory, pids })[name] !== undefined)
}

export type CgroupMetrics = Pick<VMMetrics, 'cpu' | 'memory' | 'pids'>

/** A share of CPU time as microseconds of each period; the kernel takes no less than 1 ms. */
export const CPU_PERIOD_US = 100_000

export function cpuQuota(cpus: number): number {
  return Math.max(1000, Math.round(cpus * CPU_PERIOD_US))
}
