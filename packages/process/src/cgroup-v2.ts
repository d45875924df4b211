/** Version 2: one hierarchy (Documentation/admin-guide/cgroup-v2.rst in the kernel's source). */
import { accessSync, constants, existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  type CgroupMetrics,
  type CgroupRecord,
  type CgroupVersion,
  CONTROLLERS,
  type Controller,
  CPU_PERIOD_US,
  cpuQuota,
  folderIn,
  type Limits,
  type Mount,
  makeFolders,
  parseKeyed,
  parseLimit,
  parsePids,
  readText,
  writeText,
} from './cgroup.js'

/**
 * A group with processes cannot give controllers to its children, and the app is in its own group. So the parent of the
 * machines is the nearest group, from the app's own upwards, that we may write and that gives, or can give, controllers.
 */
export function cgroupV2(mount: Mount, ownGroup: string): CgroupVersion {
  const own = folderIn(mount, ownGroup) ?? mount.path
  const parent = mount.readOnly ? undefined : ancestors(own, mount.path).find((folder) => usable(folder, mount.path).length > 0)
  const present = parent === undefined ? [] : usable(parent, mount.path)
  const missing: Partial<Record<Controller, string>> = {}
  for (const name of CONTROLLERS) {
    if (present.includes(name)) continue
    missing[name] = mount.readOnly
      ? `${mount.path} is mounted read-only`
      : `no cgroup from ${own} upwards is writable and gives the controller ${name} to its children (delegate one: systemd-run -p Delegate=yes, or run as root)`
  }
  return {
    version: 2,
    missing,
    create(id, limits) {
      const folder = join(parent as string, `vmkit-process-${id}`)
      const record: CgroupRecord = { version: 2, folders: { unified: folder } }
      makeFolders([folder], () => {
        const absent = present.filter((name) => !words(readText(join(parent as string, 'cgroup.subtree_control'))).includes(name))
        if (absent.length > 0) writeText(join(parent as string, 'cgroup.subtree_control'), absent.map((name) => `+${name}`).join(' '))
        limitV2(record, limits)
      })
      return record
    },
  }
}

function ancestors(folder: string, top: string): string[] {
  return folder === top || !folder.startsWith(`${top}/`) ? [top] : [folder, ...ancestors(dirname(folder), top)]
}

function usable(folder: string, top: string): Controller[] {
  try {
    accessSync(folder, constants.W_OK)
    accessSync(join(folder, 'cgroup.procs'), constants.W_OK)
  } catch {
    return []
  }
  const given = words(readText(join(folder, 'cgroup.subtree_control')))
  const empty = folder === top || parsePids(readText(join(folder, 'cgroup.procs'))).length === 0
  const available = empty ? words(readText(join(folder, 'cgroup.controllers'))) : given
  return CONTROLLERS.filter((name) => available.includes(name))
}

function words(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((word) => word !== '')
}

export function limitV2({ folders }: CgroupRecord, { cpus, memory, pids }: Limits): void {
  const folder = folders.unified as string
  if (cpus !== undefined) writeText(join(folder, 'cpu.max'), `${cpuQuota(cpus)} ${CPU_PERIOD_US}`)
  if (memory !== undefined) {
    writeText(join(folder, 'memory.max'), String(memory))
    if (existsSync(join(folder, 'memory.swap.max'))) writeText(join(folder, 'memory.swap.max'), '0')
  }
  if (pids !== undefined) writeText(join(folder, 'pids.max'), String(pids))
}

export function metricsV2({ folders }: CgroupRecord): CgroupMetrics {
  const folder = folders.unified as string
  const cpu = parseKeyed(readText(join(folder, 'cpu.stat')))
  const ms = (microseconds: number | undefined): number | null => (microseconds === undefined ? null : microseconds / 1000)
  return {
    cpu: { usageMs: ms(cpu.usage_usec), userMs: ms(cpu.user_usec), systemMs: ms(cpu.system_usec) },
    memory: {
      usedBytes: parseLimit(readText(join(folder, 'memory.current'))),
      limitBytes: parseLimit(readText(join(folder, 'memory.max'))),
    },
    pids: parseLimit(readText(join(folder, 'pids.current'))),
  }
}

/** cgroup.events says `frozen 1` once the last process has stopped. */
export function freezeV2(folder: string, frozen: boolean): boolean {
  writeText(join(folder, 'cgroup.freeze'), frozen ? '1' : '0')
  return parseKeyed(readText(join(folder, 'cgroup.events'))).frozen === (frozen ? 1 : 0)
}
