/** Version 1: one hierarchy per controller (Documentation/admin-guide/cgroup-v1 in the kernel's source). */
import { accessSync, constants, existsSync } from 'node:fs'
import { join } from 'node:path'
import {
  type CgroupMetrics,
  type CgroupRecord,
  type CgroupVersion,
  CONTROLLERS,
  type Controller,
  CPU_PERIOD_US,
  controllersOf,
  cpuQuota,
  folderIn,
  type Limits,
  type Mount,
  makeFolders,
  parseKeyed,
  parseLimit,
  readText,
  writeText,
} from './cgroup.js'

const MS_PER_TICK = 10

/** Under the app's own group of each hierarchy: what limits the app limits its machines too. */
export function cgroupV1(mounts: readonly Mount[], own: ReadonlyMap<string, string>): CgroupVersion {
  const parents = new Map<string, string>()
  const missing: Partial<Record<Controller, string>> = {}
  for (const name of [...CONTROLLERS, 'freezer', 'cpuacct'] as const) {
    const found = parentOf(name, mounts, own)
    if ('folder' in found) parents.set(name, found.folder)
    else if (name !== 'freezer' && name !== 'cpuacct') missing[name] = found.reason
  }
  return {
    version: 1,
    missing,
    create(id, limits) {
      const folders: Record<string, string> = {}
      // The freezer, beside what is limited, stops and finds every process; cpuacct counts.
      for (const name of [...controllersOf(limits), 'freezer', 'cpuacct']) {
        const parent = parents.get(name)
        if (parent !== undefined) folders[name] = join(parent, `vmkit-process-${id}`)
      }
      const record: CgroupRecord = { version: 1, folders }
      makeFolders(new Set(Object.values(folders)), () => limitV1(record, limits))
      return record
    },
  }
}

function parentOf(name: string, mounts: readonly Mount[], own: ReadonlyMap<string, string>): { folder: string } | { reason: string } {
  const mount = mounts.find(({ type, options }) => type === 'cgroup' && options.includes(name))
  if (!mount) return { reason: `the cgroup v1 controller ${name} is not mounted` }
  if (mount.readOnly) return { reason: `${mount.path} is mounted read-only` }
  const folder = folderIn(mount, own.get(name) ?? '/') ?? mount.path
  try {
    accessSync(folder, constants.W_OK)
    return { folder }
  } catch {
    return { reason: `no right to make groups in ${folder}; cgroup v1 needs root` }
  }
}

function limitV1({ folders }: CgroupRecord, { cpus, memory, pids }: Limits): void {
  if (cpus !== undefined && folders.cpu) {
    writeText(join(folders.cpu, 'cpu.cfs_period_us'), String(CPU_PERIOD_US))
    writeText(join(folders.cpu, 'cpu.cfs_quota_us'), String(cpuQuota(cpus)))
  }
  if (memory !== undefined && folders.memory) setMemory(folders.memory, memory)
  if (pids !== undefined && folders.pids) writeText(join(folders.pids, 'pids.max'), String(pids))
}

/** Memory with swap must never be below memory alone: which goes first depends on the direction. */
function setMemory(folder: string, bytes: number): void {
  const plain = join(folder, 'memory.limit_in_bytes')
  const withSwap = join(folder, 'memory.memsw.limit_in_bytes')
  const files = existsSync(withSwap) ? [withSwap, plain] : [plain]
  const before = parseLimit(readText(plain))
  if (before === null || bytes < before) files.reverse()
  for (const file of files) writeText(file, String(bytes))
}

export function metricsV1({ folders }: CgroupRecord): CgroupMetrics {
  const usage = folders.cpuacct && readText(join(folders.cpuacct, 'cpuacct.usage'))
  const ticks = parseKeyed(folders.cpuacct && readText(join(folders.cpuacct, 'cpuacct.stat')))
  const read = (controller: string, file: string): string | undefined =>
    folders[controller] ? readText(join(folders[controller], file)) : undefined
  return {
    cpu: {
      usageMs: usage ? Number(usage) / 1e6 : null,
      userMs: ticks.user === undefined ? null : ticks.user * MS_PER_TICK,
      systemMs: ticks.system === undefined ? null : ticks.system * MS_PER_TICK,
    },
    memory: {
      usedBytes: parseLimit(read('memory', 'memory.usage_in_bytes')),
      limitBytes: parseLimit(read('memory', 'memory.limit_in_bytes')),
    },
    pids: parseLimit(read('pids', 'pids.current')),
  }
}

/** `freezer.state` is FREEZING until the last task has stopped. */
export function freezeV1(folder: string, frozen: boolean): boolean {
  writeText(join(folder, 'freezer.state'), frozen ? 'FROZEN' : 'THAWED')
  return readText(join(folder, 'freezer.state')) === (frozen ? 'FROZEN' : 'THAWED')
}
