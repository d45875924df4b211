import { type CallContext, type MachineConfig, VMKitError } from '@vmkit/core/driver'
import type { Inner } from './inner.js'
import type { KataConfig } from './kata-config.js'

export function unsupported(field: string, message: string, hint?: string): VMKitError {
  return new VMKitError('UNSUPPORTED', message, { driver: 'kata', operation: 'create', field, hint })
}

/** What a container has and a sandbox cannot (kata-containers, docs/Limitations.md). @throws VMKitError `UNSUPPORTED` */
export function refuseHostSharing({ networks, devices, driverOptions }: MachineConfig): void {
  const at = networks.findIndex(({ name }) => name === 'host')
  if (at >= 0)
    throw unsupported(`config.networks.${at}`, 'A Kata sandbox has a kernel of its own, which cannot use the network of the host')
  const device = devices.findIndex((each) => each.type === 'host' && !each.path.startsWith('/dev/vfio/'))
  if (device >= 0) {
    throw unsupported(
      `config.devices.${device}`,
      'Kata hands only VFIO groups (/dev/vfio/…) through to a sandbox; another device node would be that of the guest',
    )
  }
  const own = (driverOptions.kata ?? {}) as Record<string, unknown>
  for (const key of ['pidMode', 'ipcMode'] as const) {
    if (own[key] !== undefined) {
      throw unsupported(
        `config.driverOptions.kata.${key}`,
        'A Kata sandbox cannot share processes or IPC with the host: they are those of another kernel',
      )
    }
  }
}

/** What the VM, or the shim around it, does not take. @throws VMKitError `UNSUPPORTED` */
export function refuseForGuest({ rootfs, stdin }: MachineConfig, config: KataConfig | undefined, hasLogger: boolean): void {
  const noFolders = whyNoFolders(config)
  if (rootfs !== undefined && noFolders !== undefined)
    throw unsupported('config.rootfs', `A folder cannot be the root file system: ${noFolders}`)
  if (stdin && hasLogger) {
    throw unsupported(
      'config.stdin',
      "Kata's shim gives a process no stdin when a logger takes its output",
      "Leave out the option `logs: { mode: 'timestamps' }`",
    )
  }
}

/** Why no folder of this host comes into the guest. */
export function whyNoFolders(config: KataConfig | undefined): string | undefined {
  if (config?.hypervisor === 'firecracker') return 'Firecracker shares no files with its guest'
  if (config?.sharedFs === 'none') return `${config.path} has shared_fs = "none": no folder of the host comes into the guest`
  return undefined
}

/** Snapshotters whose snapshots are block devices: Kata hands the device to the guest, which mounts it. */
export const BLOCK_SNAPSHOTTERS: ReadonlySet<string> = new Set(['devmapper', 'blockfile'])

/** What is read of a disk must not be mounted in a guest too. @throws VMKitError `INVALID_STATE` */
export async function refuseDiskInGuest(inner: Inner, vmId: string, ctx: CallContext): Promise<void> {
  const { state, details } = await inner.getInfo(vmId, ctx)
  const snapshotter = String(details?.snapshotter)
  if ((state !== 'running' && state !== 'paused') || !BLOCK_SNAPSHOTTERS.has(snapshotter)) return
  throw new VMKitError(
    'INVALID_STATE',
    `With the snapshotter ${snapshotter} the disk of a sandbox that runs is mounted in its guest, and cannot be read from outside`,
    { driver: 'kata', vmId, hint: 'Stop the machine first' },
  )
}
