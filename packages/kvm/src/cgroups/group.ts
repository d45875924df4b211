/** The control group of one QEMU: made before it starts, filled by it, gone after it. */
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { DRIVER, systemError } from '../errors.js'
import { CONTROLLERS, type Controller, type Controllers, readText } from './controllers.js'

/** What the host gives a whole QEMU: guest, devices, and itself. */
export interface HostLimits {
  cpus?: number
  /** Bytes. */
  memory?: number
  /** Threads. */
  pids?: number
}

/** Plain data, kept with the run. */
export interface Group {
  version: 1 | 2
  /** By controller; for version 2 all the same. */
  folders: Partial<Record<Controller, string>>
}

/** The kernel's own default, and the least quota that it takes (sched-bwc.rst). */
const PERIOD_US = 100_000
const LEAST_QUOTA_US = 1000
const LEAVE_MS = 2000
const LOOK_MS = 5

export function controllersOf({ cpus, memory, pids }: HostLimits): Controller[] {
  return CONTROLLERS.filter((name) => ({ cpu: cpus, memory, pids })[name] !== undefined)
}

/** Where it will be; nothing is made. `undefined` without limits. @throws VMKitError `UNSUPPORTED` with the host's reason */
export function planGroup(id: string, limits: HostLimits, host: Controllers): Group | undefined {
  const wanted = controllersOf(limits)
  if (wanted.length === 0) return undefined
  const folders: Group['folders'] = {}
  for (const name of wanted) {
    const parent = host.parents[name]
    if (parent === undefined) {
      throw new VMKitError('UNSUPPORTED', `This host cannot limit ${name} of a QEMU: ${host.missing[name]}`, { driver: DRIVER, vmId: id })
    }
    folders[name] = join(parent, `vmkit-kvm-${id}`)
  }
  return { version: host.version, folders }
}

/** @throws VMKitError; nothing is left then */
export async function makeGroup(group: Group, limits: HostLimits): Promise<void> {
  const { version, folders } = group
  try {
    for (const [name, folder] of entries(folders)) {
      if (version === 2) enable(join(folder, '..'), name)
      mkdirSync(folder, { recursive: true })
    }
    if (limits.cpus !== undefined) limitCpus(group, limits.cpus)
    if (limits.memory !== undefined && folders.memory) limitMemory(version, folders.memory, limits.memory)
    if (limits.pids !== undefined && folders.pids) writeFileSync(join(folders.pids, 'pids.max'), String(limits.pids))
  } catch (error) {
    await removeGroup(group)
    throw systemError(error, { hint: 'The control group of this machine could not be made' })
  }
}

function entries(folders: Group['folders']): [Controller, string][] {
  return Object.entries(folders) as [Controller, string][]
}

function enable(parent: string, name: Controller): void {
  const file = join(parent, 'cgroup.subtree_control')
  if (!readText(file).split(/\s+/).includes(name)) writeFileSync(file, `+${name}`)
}

/** Also while it runs. */
export function limitCpus({ version, folders: { cpu } }: Group, cpus: number): void {
  if (cpu === undefined) return
  const quota = Math.max(LEAST_QUOTA_US, Math.round(cpus * PERIOD_US))
  if (version === 2) {
    writeFileSync(join(cpu, 'cpu.max'), `${quota} ${PERIOD_US}`)
    return
  }
  writeFileSync(join(cpu, 'cpu.cfs_period_us'), String(PERIOD_US))
  writeFileSync(join(cpu, 'cpu.cfs_quota_us'), String(quota))
}

/** Swap does not count as more. */
function limitMemory(version: 1 | 2, folder: string, bytes: number): void {
  const [plain, swap, withSwap] =
    version === 2 ? ['memory.max', 'memory.swap.max', 0] : ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes', bytes]
  writeFileSync(join(folder, plain), String(bytes))
  // Not there on a host that does not count swap.
  if (existsSync(join(folder, swap))) writeFileSync(join(folder, swap), String(withSwap))
}

/** A process with all its threads. */
export function moveInto({ folders }: Group, pid: number): void {
  for (const folder of new Set(Object.values(folders))) writeFileSync(join(folder, 'cgroup.procs'), String(pid))
}

/** Whether the kernel ended something in it for want of memory. */
export function ranOutOfMemory({ version, folders: { memory } }: Group): boolean {
  if (memory === undefined) return false
  const text = readText(join(memory, version === 2 ? 'memory.events' : 'memory.oom_control'))
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0) > 0
}

/** Harmless when there is none. The threads of a process that has ended leave it a moment later. */
export async function removeGroup({ folders }: Group): Promise<void> {
  const deadline = performance.now() + LEAVE_MS
  for (const folder of new Set(Object.values(folders))) {
    while (!isRemoved(folder) && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

function isRemoved(folder: string): boolean {
  try {
    rmdirSync(folder)
    return true
  } catch (error) {
    if (errno(error) === 'ENOENT') return true
    if (errno(error) === 'EBUSY') return false
    throw systemError(error)
  }
}
