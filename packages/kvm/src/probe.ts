import { availableParallelism, totalmem } from 'node:os'
import { type CallContext, type HostProbe, type Missing, unavailable, VMKitError } from '@vmkit/core/driver'
import { whyNotWritable } from '@vmkit/core/state-folder'
import { findControllers } from './cgroups/controllers.js'
import type { Host } from './host.js'
import { NO_PLAN9 } from './mounts.js'
import { whyNoNetworks } from './net/links.js'
import { findProgram } from './qemu/binary.js'
import { findVirtiofsd } from './shares/virtiofsd.js'

/** What no QEMU machine has, with what a person wants to know. */
const NEVER: Missing = {
  rename: 'not yet: the guest took the name as its host name when it booted',
  'images.export': 'a disk is made of an image, and its layers are not kept',
  restart: 'nobody is there to start a machine again: there is no daemon',
  'logs.since': 'the output goes to plain files, which keep no times; let the program write them',
}

/** Looks at the host; makes nothing. */
export async function probe(host: Host, ctx: CallContext): Promise<HostProbe> {
  const { stateDir } = host.options
  try {
    if (process.platform !== 'linux')
      throw new VMKitError('UNSUPPORTED', `QEMU machines are run on Linux only, this is ${process.platform}`)
    const refusal = whyNotWritable(stateDir)
    if (refusal) throw refusal
    const qemu = await host.qemu()
    const noNetworks = whyNoNetworks()
    const { accel, reason } = await host.accel(undefined, ctx.signal)
    const virtiofsd = await findVirtiofsd()
    const isMounting = qemu.plan9 || typeof virtiofsd !== 'string'
    const noMounts = `${NO_PLAN9}, and virtiofs: ${String(virtiofsd)}`
    return {
      available: true,
      engine: `QEMU ${qemu.version} (${accel})`,
      missing: {
        ...NEVER,
        ...(isMounting ? {} : { mounts: noMounts, volumes: noMounts }),
        ...(noNetworks === undefined ? {} : { networks: noNetworks }),
      },
      resources: { cpus: availableParallelism(), memoryBytes: totalmem() },
      details: {
        binary: qemu.path,
        accelerator: accel,
        'accelerator because': reason,
        'qemu-img': findProgram('qemu-img') ?? 'not found',
        'host limits': hostLimits(),
        '9p': qemu.plan9 ? 'yes' : NO_PLAN9,
        virtiofs: typeof virtiofsd === 'string' ? `no: ${virtiofsd}` : virtiofsd.path,
        sandbox: qemu.sandbox ? 'seccomp' : 'QEMU was built without',
        stateDir,
      },
    }
  } catch (error) {
    ctx.signal.throwIfAborted()
    return unavailable(error, NEVER)
  }
}

/** What the control groups of this host can limit, and why not the rest. */
function hostLimits(): string {
  const { version, parents, missing } = findControllers()
  const able = Object.keys(parents)
  const told = Object.entries(missing).map(([name, reason]) => `no ${name}: ${reason}`)
  return [`cgroup v${version}: ${able.length > 0 ? able.join(', ') : 'none'}`, ...told].join('; ')
}
