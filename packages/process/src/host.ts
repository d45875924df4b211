import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import type { CgroupVersion } from './cgroup.js'
import { detectCgroups } from './machine-cgroup.js'
import type { ResolvedOptions } from './options.js'
import { type Store, store } from './store.js'

/** What the driver's parts share. Made without touching the host. */
export interface Host {
  readonly options: ResolvedOptions
  readonly store: Store
  /** Path of a program of the system; `undefined` when the host lacks it. */
  tool(name: Tool): string | undefined
  /** What of control groups it has; looked up at each call. */
  cgroups(): CgroupVersion
}

export type Tool = 'setsid' | 'fallocate' | 'env' | 'setpriv' | 'script' | 'stty' | 'mkfifo' | 'tar'

const FOLDERS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin', '/usr/local/bin']

export function host(options: ResolvedOptions): Host {
  const tools = new Map<Tool, string | undefined>()
  return {
    options,
    store: store(options.stateDir),
    tool(name) {
      if (!tools.has(name)) tools.set(name, FOLDERS.map((folder) => join(folder, name)).find(isExecutable))
      return tools.get(name)
    },
    cgroups: detectCgroups,
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
