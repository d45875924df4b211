import { accessSync, constants, existsSync } from 'node:fs'
import { availableParallelism, release, totalmem } from 'node:os'
import { dirname } from 'node:path'
import type { HostProbe, Missing } from '@vmkit/core/driver'
import type { Host } from './host.js'

/** Looks at the host; makes nothing. */
export function probe(host: Host): HostProbe {
  const tried: { target: string; result: string }[] = []
  const missing: Missing = { 'snapshot.memory': 'vmkit does not drive CRIU' }
  const unavailable = (reason: string): HostProbe => ({ available: false, reason, missing, tried })
  if (process.platform !== 'linux') return unavailable(`host processes are supervised on Linux only, this is ${process.platform}`)
  for (const [target, present] of [
    ['/proc/self/stat', existsSync('/proc/self/stat')],
    [host.options.shell, existsSync(host.options.shell)],
    ['setsid', host.tool('setsid') !== undefined],
  ] as const) {
    tried.push({ target, result: present ? 'found' : 'not found' })
    if (!present) return unavailable(`this host has no ${target}`)
  }
  const blocked = unwritable(host.options.stateDir)
  if (blocked !== undefined) return unavailable(`the state folder cannot be made or written: ${blocked}`)
  return {
    available: true,
    engine: `Linux ${release()}`,
    missing,
    resources: { cpus: availableParallelism(), memoryBytes: totalmem() },
    details: {
      stateDir: host.options.stateDir,
      logCap: host.tool('fallocate') ? `${host.options.logBytes} bytes per stream` : 'none: this host has no fallocate to trim with',
    },
  }
}

/** The nearest folder that exists must let us in. */
function unwritable(folder: string): string | undefined {
  if (!existsSync(folder) && dirname(folder) !== folder) return unwritable(dirname(folder))
  try {
    accessSync(folder, constants.W_OK | constants.X_OK)
    return undefined
  } catch {
    return `no right to write to ${folder}`
  }
}
