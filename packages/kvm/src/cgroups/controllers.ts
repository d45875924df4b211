/**
 * Control groups of this host for a QEMU: which controllers there are, where a group may be made, and why not. Version 1 has one
 * hierarchy per controller (Documentation/admin-guide/cgroup-v1 of the kernel), version 2 one for all (cgroup-v2.rst).
 */
import { accessSync, constants, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export type Controller = 'cpu' | 'memory' | 'pids'
export const CONTROLLERS: readonly Controller[] = ['cpu', 'memory', 'pids']

export interface Controllers {
  version: 1 | 2
  /** Folder in which a group with this controller can be made. */
  parents: Partial<Record<Controller, string>>
  /** Why not, for the others. */
  missing: Partial<Record<Controller, string>>
}

interface Mount {
  path: string
  root: string
  type: string
  options: string[]
  readOnly: boolean
}

export function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim()
  } catch {
    return ''
  }
}

/** A hybrid host has its controllers in version 1. */
export function findControllers(mountinfo = readText('/proc/self/mountinfo'), ownGroups = readText('/proc/self/cgroup')): Controllers {
  const mounts = parseMounts(mountinfo)
  const own = parseOwnGroups(ownGroups)
  const isV1 = mounts.some(({ type, options }) => type === 'cgroup' && CONTROLLERS.some((name) => options.includes(name)))
  const unified = mounts.find(({ type }) => type === 'cgroup2')
  const found = isV1 || !unified ? (name: Controller) => parentV1(name, mounts, own) : parentsV2(unified, own.get('') ?? '/')
  const result: Controllers = { version: isV1 || !unified ? 1 : 2, parents: {}, missing: {} }
  for (const name of CONTROLLERS) {
    const { folder, reason } = found(name)
    if (folder !== undefined) result.parents[name] = folder
    else result.missing[name] = reason ?? 'this host has no control groups'
  }
  return result
}

interface Found {
  folder?: string
  reason?: string
}

function parentV1(name: Controller, mounts: readonly Mount[], own: ReadonlyMap<string, string>): Found {
  const mount = mounts.find(({ type, options }) => type === 'cgroup' && options.includes(name))
  if (!mount) return { reason: `this host has no cgroup controller ${name}` }
  if (mount.readOnly) return { reason: `${mount.path} is mounted read-only` }
  const folder = seen(mount, own.get(name) ?? '/')
  return isWritable(folder) ? { folder } : { reason: `no right to make groups in ${folder}` }
}

/**
 * A group with processes gives no controllers to its children, so it is the nearest one from the app's own upwards that we may write
 * and that gives, or can give, the controller.
 */
function parentsV2(mount: Mount, ownGroup: string): (name: Controller) => Found {
  const own = seen(mount, ownGroup)
  return (name) => {
    if (mount.readOnly) return { reason: `${mount.path} is mounted read-only` }
    const folder = upwards(own, mount.path).find((group) => gives(group, mount.path).includes(name))
    return folder === undefined
      ? { reason: `no cgroup from ${own} upwards is writable and gives ${name} to its children (systemd-run -p Delegate=yes makes one)` }
      : { folder }
  }
}

function gives(folder: string, top: string): string[] {
  if (!isWritable(folder) || !isWritable(join(folder, 'cgroup.procs'))) return []
  const isEmpty = folder === top || readText(join(folder, 'cgroup.procs')) === ''
  return readText(join(folder, isEmpty ? 'cgroup.controllers' : 'cgroup.subtree_control')).split(/\s+/)
}

function upwards(folder: string, top: string): string[] {
  return folder === top || !folder.startsWith(`${top}/`) ? [top] : [folder, ...upwards(dirname(folder), top)]
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** /proc/self/mountinfo (proc(5)): `id parent device root path options [more] - type source super-options`. */
function parseMounts(mountinfo: string): Mount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [left = '', right = ''] = line.split(' - ')
    const [, , , root = '/', path = '', options = ''] = left.split(' ').map(unescapeOctal)
    const [type = '', , superOptions = ''] = right.split(' ')
    if (type !== 'cgroup' && type !== 'cgroup2') return []
    return [{ root, path, type, options: superOptions.split(','), readOnly: options.split(',').includes('ro') }]
  })
}

/** Spaces and the like are octal there. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

/** /proc/self/cgroup: path by controller; that of version 2 under the empty name. */
function parseOwnGroups(text: string): Map<string, string> {
  const lines = text.split('\n').map((line) => /^\d+:([^:]*):(.*)$/.exec(line))
  return new Map(lines.flatMap((match) => (match?.[1] ?? '').split(',').map((name) => [name, match?.[2] ?? '/'] as const)))
}

/** A group as it is seen through the mount. */
function seen(mount: Mount, group: string): string {
  if (mount.root === '/') return join(mount.path, group)
  return group.startsWith(`${mount.root}/`) ? join(mount.path, group.slice(mount.root.length)) : mount.path
}
