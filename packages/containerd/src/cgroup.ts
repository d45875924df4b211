/** What the cgroup file systems of this host tell of a machine, beside what the runtime reports. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = '/sys/fs/cgroup'

/** 2 where the unified hierarchy has the controllers; a hybrid host counts as 1. */
export function cgroupVersion(root = ROOT): 1 | 2 {
  return existsSync(join(root, 'cgroup.controllers')) ? 2 : 1
}

/** Whether the kernel has a controller, and counts swap. */
export function cgroupTraits(root = ROOT): { memory: boolean; cpu: boolean; pids: boolean; freezer: boolean; swap: boolean } {
  if (cgroupVersion(root) === 2) {
    const controllers = readFileSync(join(root, 'cgroup.controllers'), 'latin1').trim().split(' ')
    const has = (name: string) => controllers.includes(name)
    // Every cgroup of v2 can be frozen. The root has no memory.swap.max, so a limit is tried: the runtime tells.
    return { memory: has('memory'), cpu: has('cpu'), pids: has('pids'), freezer: true, swap: has('memory') && existsSync('/proc/swaps') }
  }
  const has = (name: string) => existsSync(join(root, name))
  return {
    memory: has('memory'),
    cpu: has('cpu') || has('cpu,cpuacct'),
    pids: has('pids'),
    freezer: has('freezer'),
    swap: existsSync(join(root, 'memory/memory.memsw.limit_in_bytes')),
  }
}

/** How many processes of the cgroup the kernel killed for lack of memory; `null` when nobody can tell any more. */
export function oomKills(cgroupsPath: string, root = ROOT): number | null {
  for (const file of [join(root, 'memory', cgroupsPath, 'memory.oom_control'), join(root, cgroupsPath, 'memory.events')]) {
    try {
      const line = /^oom_kill (\d+)$/m.exec(readFileSync(file, 'latin1'))
      if (line) return Number(line[1])
    } catch {
      // the other version, or a cgroup that is gone
    }
  }
  return null
}
