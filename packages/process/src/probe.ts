import { existsSync } from 'node:fs'
import { availableParallelism, release, totalmem } from 'node:os'
import { type HostProbe, type Missing, unavailable, VMKitError } from '@vmkit/core/driver'
import { whyNotWritable } from '@vmkit/core/state-folder'
import { CONTROLLERS } from './cgroup.js'
import type { Host } from './host.js'

/** Looks at the host; makes nothing. */
export function probe(host: Host): HostProbe {
  const tried: { target: string; result: string }[] = []
  const missing: Missing = {
    rename: "the name is the machine's folder, in which its supervisor works, and the first part of its id",
    'snapshot.memory': 'vmkit does not drive CRIU',
    'logs.since': 'the output goes to plain files, which keep no times; let the program write them',
  }
  const without = (error: VMKitError): HostProbe => ({ ...unavailable(error, missing), tried })
  if (process.platform !== 'linux')
    return without(new VMKitError('UNSUPPORTED', `host processes are supervised on Linux only, this is ${process.platform}`))
  for (const [target, present] of [
    ['/proc/self/stat', existsSync('/proc/self/stat')],
    [host.options.shell, existsSync(host.options.shell)],
    ['setsid', host.tool('setsid') !== undefined],
  ] as const) {
    tried.push({ target, result: present ? 'found' : 'not found' })
    if (!present) return without(new VMKitError('UNSUPPORTED', `this host has no ${target}`))
  }
  const refusal = whyNotWritable(host.options.stateDir)
  if (refusal) return without(refusal)
  Object.assign(missing, missingHere(host))
  return {
    available: true,
    engine: `Linux ${release()}`,
    missing,
    resources: { cpus: availableParallelism(), memoryBytes: totalmem() },
    details: {
      stateDir: host.options.stateDir,
      cgroup: `v${host.cgroups().version}`,
      logCap: host.tool('fallocate') ? `${host.options.logBytes} bytes per stream` : 'none: this host has no fallocate to trim with',
    },
  }
}

function missingHere(host: Host): Missing {
  const missing: Missing = {}
  if (!host.tool('script') || !host.tool('stty'))
    missing['exec.tty'] = 'this host has no script (util-linux) or no stty, which make and size a terminal'
  if (!host.tool('tar')) missing['files.archive'] = 'this host has no tar'
  const { missing: controllers, version } = host.cgroups()
  for (const name of CONTROLLERS) if (controllers[name] !== undefined) missing[`limits.${name}`] = controllers[name]
  if (CONTROLLERS.every((name) => controllers[name] !== undefined))
    missing.resize = `there is nothing to resize: ${controllers.memory} (cgroup v${version})`
  return missing
}
