/** Makes what a machine boots from, in its folder, at create. */
import { appendFile, chmod, writeFile } from 'node:fs/promises'
import type { CallContext, MachineConfig } from '@vmkit/core/driver'
import type { ContainerConfig } from '@vmkit/oci'
import { createDisk, inspectDisk } from '../disk/image-file.js'
import { unsupportedField } from '../errors.js'
import type { Host } from '../host.js'
import type { KvmMachineOptions } from '../machine-options.js'
import { mountsOf } from '../mounts.js'
import { isSetByCloudInit } from '../net/attach.js'
import { cloudNetworkConfig } from '../net/cloud-network.js'
import type { BootPlan } from '../qemu/machine-spec.js'
import { FILES, type MachineFolder } from '../state/machine-folder.js'
import type { MachineRecord } from '../state/store.js'
import { AGENT_CHANNEL, guestChannels } from './channels.js'
import { cloudInitSeed } from './cloud-init.js'
import { cachedDisk } from './disk-cache.js'
import { GUEST_CMDLINE, placeGuest } from './guest.js'
import { keepKernel } from './guest-cache.js'
import { readyImage } from './image-store.js'
import { baseSize, fingerprint, makeRootDisk, useDisk } from './root-disk.js'
import { mainCommand, processOf, runArchive, runRecords } from './run-spec.js'

const ROOT_SERIAL = 'vmkit-root'

export async function prepareBoot(
  host: Host,
  config: MachineConfig,
  options: KvmMachineOptions,
  folder: MachineFolder,
  ctx: CallContext,
  nics: Pick<MachineRecord, 'macs' | 'attachments'>,
): Promise<BootPlan> {
  const { rootfs, image, disk, pull, cloudInit } = config
  if (cloudInit && (image ?? rootfs) !== undefined) {
    throw unsupportedField('config.cloudInit', 'cloud-init sets up disks and kernels with a system of their own; an image runs one command')
  }
  if (image !== undefined) {
    const ready = await useDisk(() => readyImage(host, image, pull, disk?.size, ctx), folder, disk?.size)
    return { ...(await bootRoot(host, config, options, folder, ready.config)), imageDigest: ready.digest }
  }
  if (rootfs !== undefined) {
    mainCommand(config)
    await useDisk(async () => ({ disk: await rootfsDisk(host, rootfs, disk?.size, ctx) }), folder, disk?.size)
    return bootRoot(host, config, options, folder, {})
  }
  return bootDisk(config, folder, networkConfigOf(config, options, nics))
}

/** What cloud-init is to set up where nobody said it; by itself it knows of one NIC. */
function networkConfigOf(
  config: MachineConfig,
  { network }: KvmMachineOptions,
  { macs, attachments = [] }: Pick<MachineRecord, 'macs' | 'attachments'>,
): string | undefined {
  if (!isSetByCloudInit(config)) return config.cloudInit?.networkConfig
  return cloudNetworkConfig(network?.kind === 'none' ? undefined : macs[0], attachments)
}

async function bootDisk(config: MachineConfig, folder: MachineFolder, networkConfig: string | undefined): Promise<BootPlan> {
  const { kernel, disk, cloudInit } = config
  if (!kernel && !disk) throw unsupportedField('config', 'it names nothing to boot: no image, rootfs, disk or kernel')
  refuseProcess(config)
  const seed =
    cloudInit &&
    cloudInitSeed({ name: config.name, cloudInit: { ...cloudInit, ...(networkConfig === undefined ? {} : { networkConfig }) } }, folder.id)
  const base = disk?.image === undefined ? undefined : await inspectDisk(disk.image, 'config.disk.image')
  if (disk) await createDisk({ path: folder.disk, ...(disk.size === undefined ? {} : { size: disk.size }), ...(base ? { base } : {}) })
  if (kernel) await keepKernel(kernel.path)
  if (seed) await writeFile(folder.seed, seed, { mode: 0o600, flag: 'wx' })
  return {
    kind: kernel ? 'kernel' : 'disk',
    ...(kernel ? { kernel: { ...kernel, cmdline: kernel.cmdline ?? '' } } : {}),
    disks: [
      ...(disk ? [{ id: 'disk', path: FILES.disk, format: 'qcow2', ...(kernel ? {} : { bootIndex: 0 }) } as const] : []),
      // A virtio disk, because kernels for clouds have no driver of CD drives.
      ...(seed ? [{ id: 'seed', path: FILES.seed, format: 'raw', readOnly: true } as const] : []),
    ],
    channels: [AGENT_CHANNEL],
    agent: 'unknown',
    reportsExit: false,
  }
}

/** A system of its own decides by itself what it runs. */
function refuseProcess(config: MachineConfig): void {
  const given = {
    command: config.command,
    args: config.args,
    env: Object.keys(config.env).length > 0 || undefined,
    workdir: config.workdir,
    user: config.user,
    tty: config.tty || undefined,
    stdin: config.stdin || undefined,
    files: config.files.length > 0 || undefined,
    pids: config.pids,
  }
  for (const [field, value] of Object.entries(given)) {
    if (value !== undefined)
      throw unsupportedField(`config.${field}`, 'a disk or a kernel boots a system of its own, which cloudInit may set up')
  }
}

function rootfsDisk({ options }: Host, rootfs: string, wanted: number | undefined, { signal }: CallContext): Promise<string> {
  const size = baseSize(wanted)
  const key = `rootfs-${fingerprint(rootfs, 'config.rootfs')}-${size}`
  return cachedDisk(options, key, (path) => makeRootDisk(rootfs, path, { size, signal }))
}

/** A machine whose root is an ext4 disk and whose command is told to the vmkit guest. */
async function bootRoot(
  { options }: Host,
  config: MachineConfig,
  { network = { kind: 'user' }, uefi = false }: KvmMachineOptions,
  folder: MachineFolder,
  image: ContainerConfig,
): Promise<BootPlan> {
  const flavour = mountsOf(config).some(({ kind }) => kind === '9p') ? 'general' : 'cloud'
  const channels = guestChannels(config.tty)
  const records = runRecords(config, image, {
    root: ROOT_SERIAL,
    ports: channels.map(({ name }) => name),
    shares: mountsOf(config),
    nics: network.kind === 'none' ? [] : [network.kind === 'user' ? 'user' : 'dhcp'],
  })
  const kernel = await placeGuest(options, flavour, uefi, folder)
  // It holds the machine's environment.
  await chmod(folder.initrd, 0o600)
  await appendFile(folder.initrd, runArchive(records, config.files))
  return {
    kind: config.rootfs === undefined ? 'image' : 'rootfs',
    kernel: { path: kernel, initrd: FILES.initrd, cmdline: GUEST_CMDLINE },
    disks: [{ id: 'disk', path: FILES.disk, format: 'qcow2', serial: ROOT_SERIAL }],
    channels,
    agent: 'yes',
    process: processOf(config, image),
    ...(image.StopSignal === undefined ? {} : { stopSignal: image.StopSignal }),
    reportsExit: true,
    noReboot: true,
  }
}
