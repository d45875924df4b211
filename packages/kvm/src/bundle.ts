/**
 * A machine as a portable tar, in the format of @vmkit/oci. A virtual machine carries its disk: `files/disk.qcow2`, other
 * disks, kernel and initramfs beside it, `files/kvm.json` with what it boots, and what is in its volumes. A bundle of an image, from
 * a driver of containers, boots as an image does.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type CallContext, type MachineConfig, type MachineRef, VMKitError } from '@vmkit/core/driver'
import type { Bundle, BundleFile } from '@vmkit/oci'
import { AGENT_CHANNEL, guestChannels } from './boot/channels.js'
import { placeFirmware } from './boot/firmware.js'
import { prepareBoot } from './boot/prepare.js'
import { renameInitrd } from './boot/rename-initrd.js'
import { type Plan, parsePlan } from './bundle-plan.js'
import { check } from './create.js'
import { inspectDisk } from './disk/image-file.js'
import { ownDisks } from './disk/own-disks.js'
import { flatten } from './disk/qemu-img.js'
import { DRIVER, systemError } from './errors.js'
import type { Host } from './host.js'
import { machineOptions } from './machine-options.js'
import { missingOf } from './missing.js'
import { checkNetworks, claimAddresses, orRelease } from './net/attach.js'
import type { BootPlan, DiskSpec } from './qemu/machine-spec.js'
import { command } from './qmp/command.js'
import { freezeLive } from './snapshots/freeze-disks.js'
import { quietly } from './snapshots/quiesce.js'
import { record } from './state/journal.js'
import { withLock } from './state/lock.js'
import { FILES, type MachineFolder } from './state/machine-folder.js'
import { statusOf } from './state/run.js'
import { forgetSaving, noteSaving } from './state/saving.js'
import { type Machine, newIdentity, newMac } from './state/store.js'
import { ensureVolumes, fillVolume, packVolumeNamed, placeVolumes, refuseTakenVolumes, volumeFile } from './volumes.js'

const PLAN = 'kvm.json'
const PLAN_FORMAT = 1
const LONGEST_PLAN = 2 ** 20

export async function* exportBundle(host: Host, { id }: Machine, ctx: CallContext): AsyncGenerator<Uint8Array> {
  const { writeBundle } = await import('@vmkit/oci')
  const machine = host.store.get(id)
  if (!machine.boot.disks.some((disk) => disk.id === 'disk')) {
    throw new VMKitError('UNSUPPORTED', 'A bundle carries a disk, and this machine has none', {
      driver: DRIVER,
      vmId: id,
      capability: 'bundle',
    })
  }
  const temporary = await mkdtemp(join(machine.folder.path, 'export.'))
  try {
    const files = await withLock(machine, 'bundle', ctx.signal, (signal) => gather(host, host.store.get(id), temporary, { ...ctx, signal }))
    const entries = await Promise.all(Object.entries(files).map(async ([name, path]) => [name, await fileOf(path)] as const))
    yield* writeBundle({ driver: DRIVER, config: machine.config, files: Object.fromEntries(entries) }, { signal: ctx.signal })
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

async function fileOf(path: string): Promise<BundleFile> {
  const { size } = await stat(path)
  return { size, read: () => createReadStream(path) }
}

/** By name in the bundle. Disks are made whole: what they stand on is not there where they go. */
async function gather(host: Host, machine: Machine, temporary: string, ctx: CallContext): Promise<Record<string, string>> {
  const { boot, folder } = machine
  const at = (path: string): string => (isAbsolute(path) ? path : join(folder.path, path))
  const files: Record<string, string> = {}
  const tops = await frozenTops(host, machine, ctx, async () => {
    ensureVolumes(host.store, machine.config)
    for (const [index, { name }] of machine.config.volumes.entries()) {
      const file = volumeFile(index)
      files[file] = join(temporary, file)
      ctx.report({ phase: 'export', item: file })
      await pipeline(packVolumeNamed(host.store, name), createWriteStream(files[file], { mode: 0o600 }), { signal: ctx.signal })
    }
  })
  for (const disk of boot.disks) {
    const name = fileName(disk)
    const top = tops[disk.id]
    if (top === undefined) files[name] = at(disk.path)
    else {
      ctx.report({ phase: 'export', item: disk.id })
      files[name] = join(temporary, name)
      await flatten({ path: at(top), format: 'qcow2' }, join(temporary, name), {}, ctx.signal)
    }
  }
  if (boot.kernel) files.kernel = at(boot.kernel.path)
  if (boot.kernel?.initrd !== undefined) files.initrd = at(boot.kernel.initrd)
  if (boot.firmware) files[FILES.firmware] = at(boot.firmware.variables)
  files[PLAN] = join(temporary, PLAN)
  await writeFile(join(temporary, PLAN), JSON.stringify(planOf(boot)), { mode: 0o600 })
  return files
}

/**
 * A machine that runs goes on above layers that stay as they are now; with volumes it stands still until they are packed, so that they fit
 * its disks.
 */
async function frozenTops(
  host: Host,
  machine: Machine,
  ctx: CallContext,
  packVolumes: () => Promise<void>,
): Promise<Record<string, string>> {
  const { folder, config } = machine
  const { state, run } = statusOf(folder)
  if (state !== 'running' && state !== 'paused') {
    await packVolumes()
    return Object.fromEntries(ownDisks(machine).map(({ id, path }) => [id, path]))
  }
  const stands = state === 'running' && config.volumes.length > 0
  const freeze = () =>
    command(machine, ctx.signal, async (qmp) => {
      if (stands && run) noteSaving(folder, run.number)
      if (stands) await qmp.execute('stop')
      try {
        const { layers } = await freezeLive(host, machine, qmp)
        await packVolumes()
        return layers
      } finally {
        if (stands) {
          await qmp.execute('cont')
          forgetSaving(folder)
        }
      }
    })
  return state === 'running' ? quietly(host, machine, ctx.signal, freeze) : freeze()
}

function fileName({ id, format }: Pick<DiskSpec, 'id' | 'format'>): string {
  return `${id}.${format === 'qcow2' ? 'qcow2' : 'img'}`
}

function planOf({ kind, kernel, disks, process, stopSignal }: BootPlan): Plan {
  return {
    format: PLAN_FORMAT,
    kind,
    ...(kernel ? { kernel: { cmdline: kernel.cmdline, initrd: kernel.initrd !== undefined } } : {}),
    disks: disks.map(({ path: _path, ...disk }) => disk),
    ...(process ? { process } : {}),
    ...(stopSignal === undefined ? {} : { stopSignal }),
  }
}

export async function importBundle(
  host: Host,
  stream: AsyncIterable<Uint8Array>,
  { name, labels }: { name?: string; labels: Record<string, string> },
  ctx: CallContext,
): Promise<MachineRef> {
  const { readBundle } = await import('@vmkit/oci')
  await using bundle = await readBundle(stream, { signal: ctx.signal, errors: { driver: DRIVER, operation: 'importBundle' } })
  const config = { ...bundle.config, name: name ?? bundle.config.name, labels: { ...bundle.config.labels, ...labels } }
  const options = machineOptions(config)
  check(config, options)
  checkNetworks(host, config)
  refuseTakenVolumes(host.store, config)
  await host.qemu()
  host.store.cleanUp()
  let undo = (): void => {}
  const identity = { ...newIdentity(), name: config.name, createdAt: Date.now(), config }
  const build = async (folder: MachineFolder) => {
    const nics = { macs: [newMac()], attachments: await claimAddresses(host, identity.id, config, ctx.signal) }
    const plan = bundle.image ? await bootImage(host, bundle, config, folder, ctx, nics) : await bootFiles(bundle, config, folder, ctx)
    const boot = options.uefi ? { ...plan, firmware: await bootFirmware(bundle, folder, ctx) } : plan
    for (const index of config.volumes.keys()) {
      const file = bundle.files.get(volumeFile(index))
      // A driver that has no content for it lets the first start make it.
      if (file) await fillVolume(folder, index, file.read({ signal: ctx.signal }), ctx.signal)
    }
    ctx.signal.throwIfAborted()
    undo = placeVolumes(host.store, folder, config)
    return { boot, ...nics }
  }
  const adding = orRelease(host, identity, () => host.store.add(identity, build))
  const machine = await adding.catch((error: unknown) => {
    undo()
    throw error
  })
  record(host.options.stateDir, machine, { type: 'created' })
  const missing = missingOf(machine)
  return { id: machine.id, ...(missing ? { missing } : {}) }
}

async function bootImage(
  host: Host,
  bundle: Bundle,
  config: MachineConfig,
  folder: MachineFolder,
  ctx: CallContext,
  nics: Parameters<typeof prepareBoot>[5],
): Promise<BootPlan> {
  const archive = join(folder.path, 'bundle.tar')
  try {
    await pipeline(bundle.archive(), createWriteStream(archive, { mode: 0o600 }), { signal: ctx.signal })
    const { rootfs: _rootfs, kernel: _kernel, cloudInit: _cloudInit, ...rest } = config
    return await prepareBoot(host, { ...rest, image: archive, pull: 'never' }, machineOptions(config), folder, ctx, nics)
  } finally {
    await rm(archive, { force: true })
  }
}

async function bootFiles({ files }: Bundle, config: MachineConfig, folder: MachineFolder, ctx: CallContext): Promise<BootPlan> {
  const plan = await readPlan(files.get(PLAN), folder, ctx)
  for (const disk of plan.disks) {
    const path = join(folder.path, fileName(disk))
    await unpack(files, fileName(disk), path, ctx)
    if (disk.format !== 'qcow2') continue
    // A disk of a stranger that stands on a file of this host would show it to the guest.
    const { format, backing } = await inspectDisk(path, 'bundle')
    if (format !== 'qcow2' || backing !== undefined) throw notABundle(`${fileName(disk)} is no disk that stands by itself`)
  }
  const disks = plan.disks.map((disk): DiskSpec => ({ ...disk, path: fileName(disk) }))
  const common = { kind: plan.kind, disks, ...(plan.stopSignal === undefined ? {} : { stopSignal: plan.stopSignal }) }
  const kernel = plan.kernel && {
    path: 'kernel',
    cmdline: plan.kernel.cmdline,
    ...(plan.kernel.initrd ? { initrd: FILES.initrd } : {}),
  }
  if (kernel) await unpack(files, 'kernel', join(folder.path, 'kernel'), ctx)
  if (kernel?.initrd !== undefined) await unpack(files, 'initrd', folder.initrd, ctx)
  const own = plan.process
  if (!own) return { ...common, ...(kernel ? { kernel } : {}), channels: [AGENT_CHANNEL], agent: 'unknown', reportsExit: false }
  const original = join(folder.path, 'initrd.original')
  await rename(folder.initrd, original)
  await renameInitrd(original, folder.initrd, config.name)
  await rm(original)
  return {
    ...common,
    ...(kernel ? { kernel } : {}),
    channels: guestChannels(config.tty),
    agent: 'yes',
    process: own,
    reportsExit: true,
    noReboot: true,
  }
}

/** A bundle without UEFI variables, of another driver, boots with those of a new machine. */
async function bootFirmware({ files }: Bundle, folder: MachineFolder, ctx: CallContext): Promise<NonNullable<BootPlan['firmware']>> {
  const firmware = await placeFirmware(folder)
  const kept = files.get(FILES.firmware)
  if (!kept) return firmware
  const { size } = await stat(folder.firmware)
  if (kept.size !== size) throw notABundle(`its UEFI variables are ${kept.size} bytes, and those of this host's OVMF ${size}`)
  await rm(folder.firmware)
  await unpack(files, FILES.firmware, folder.firmware, ctx)
  return firmware
}

async function unpack(files: Bundle['files'], name: string, path: string, { signal }: CallContext): Promise<void> {
  const file = files.get(name)
  if (!file) throw notABundle(`it has no files/${name}`)
  await pipeline(file.read({ signal }), createWriteStream(path, { flags: 'wx', mode: 0o600 }), { signal })
}

/** A bundle of another driver has none: its disk boots by itself. */
async function readPlan(file: BundleFile | undefined, folder: MachineFolder, ctx: CallContext): Promise<Plan> {
  if (!file) return { format: PLAN_FORMAT, kind: 'disk', disks: [{ id: 'disk', format: 'qcow2', bootIndex: 0 }] }
  if (file.size > LONGEST_PLAN) throw notABundle(`${PLAN} is too long`)
  const path = join(folder.path, PLAN)
  try {
    await unpack(new Map([[PLAN, file]]), PLAN, path, ctx)
    return parsePlan(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    if (error instanceof SyntaxError) throw notABundle(`${PLAN} is no JSON`)
    throw systemError(error, { operation: 'importBundle' })
  } finally {
    await rm(path, { force: true })
  }
}

function notABundle(reason: string): VMKitError {
  return new VMKitError('INVALID_CONFIG', `This is no bundle of vmkit: ${reason}`, {
    driver: DRIVER,
    operation: 'importBundle',
    field: 'bundle',
  })
}
