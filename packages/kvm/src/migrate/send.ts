/** The side that a machine leaves. */
import { createWriteStream } from 'node:fs'
import { link, rm, stat } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type CallContext, invalidConfig, type MigrationStats, type MigrationTicket } from '@vmkit/core/driver'
import { copyVariables } from '../boot/firmware.js'
import { chainOf, shareLayers } from '../disk/layers.js'
import { ownDisks } from '../disk/own-disks.js'
import { flatten } from '../disk/qemu-img.js'
import { DRIVER, invalidState } from '../errors.js'
import type { Host } from '../host.js'
import type { BootPlan } from '../qemu/machine-spec.js'
import type { Qmp } from '../qmp/client.js'
import { command } from '../qmp/command.js'
import { goOn } from '../snapshots/cut-off.js'
import { liveTops, readyToMigrate, versionedName } from '../snapshots/live.js'
import { specOf } from '../spec.js'
import { withLock } from '../state/lock.js'
import { FILES } from '../state/machine-folder.js'
import { statusOf } from '../state/run.js'
import type { Machine } from '../state/store.js'
import { ensureVolumes, packVolumeNamed, volumeFile } from '../volumes.js'
import { startMirror } from './mirror.js'
import type { Listening, Offer, Ticket } from './offer.js'
import { type MigrationCapability, migrate } from './outgoing.js'
import { credentialsObject } from './tls.js'
import { connectWire, type Wire } from './wire.js'

const TLS_ID = 'migration-tls'

export async function migrateOut(
  host: Host,
  { id }: Machine,
  ticket: MigrationTicket,
  { live }: { live: boolean },
  ctx: CallContext,
): Promise<MigrationStats> {
  const { address, secret, tls } = ticket as Ticket
  const tlsFolder = host.options.migration.tls
  if (tls && tlsFolder === undefined)
    throw invalidConfig('options.migration.tls', 'a folder with certificates, since the target wants TLS', undefined, {
      driver: DRIVER,
      operation: 'migrate',
    })
  return withLock(host.store.get(id), 'migrate', ctx.signal, async (signal) => {
    const machine = host.store.get(id)
    await goOn(machine, signal)
    const { state } = statusOf(machine.folder)
    if (live !== (state === 'running' || state === 'paused')) throw invalidState(id, live ? 'migrate live' : 'migrate', state)
    ownDisks(machine)
    const wire = await connectWire({ address, secret, ...(tls && tlsFolder !== undefined ? { tlsFolder } : {}) }, signal)
    try {
      const inner = { ...ctx, signal }
      return live
        ? await command(machine, signal, (qmp) => sendLive({ host, machine, wire, qmp, ticket: ticket as Ticket }, inner))
        : await sendCold({ host, machine, wire }, inner)
    } finally {
      wire.close()
    }
  })
}

interface Sending {
  host: Host
  machine: Machine
  wire: Wire
}

async function sendCold({ host, machine, wire }: Sending, ctx: CallContext): Promise<MigrationStats> {
  const tops = Object.fromEntries(ownDisks(machine).map(({ id, path }) => [id, path]))
  await wire.call('offer', { offer: await offerOf(machine, tops, { live: false }) })
  const shared = await shareDisks(host, machine, wire, tops)
  let bytes = 0
  if (shared) await wire.call('disks', { shared, tops })
  else bytes = await sendFiles(machine, wire, tops, ctx)
  bytes += await sendVolumes({ host, machine, wire }, ctx)
  await wire.call('commit', { run: false })
  return { downtimeMs: 0, bytes }
}

async function sendVolumes({ host: { store }, machine, wire }: Sending, { signal, report }: CallContext): Promise<number> {
  let bytes = 0
  ensureVolumes(store, machine.config)
  for (const [index, { name }] of machine.config.volumes.entries()) {
    const file = volumeFile(index)
    const tar = join(machine.folder.path, `${file}.tmp`)
    try {
      await pipeline(packVolumeNamed(store, name), createWriteStream(tar, { mode: 0o600 }), { signal })
      bytes += await wire.send(file, tar, (current) => report({ phase: 'transfer', item: file, current, total: null, unit: 'bytes' }))
    } finally {
      await rm(tar, { force: true })
    }
  }
  return bytes
}

async function sendLive(
  { host, machine, wire, qmp, ticket }: Sending & { qmp: Qmp; ticket: Ticket },
  ctx: CallContext,
): Promise<MigrationStats> {
  const { postCopy = false, bandwidth, downtimeLimitMs, tls } = host.options.migration
  const wasRunning = await readyToMigrate(qmp)
  const tops = await liveTops(machine, qmp)
  const files = Object.fromEntries(Object.entries(tops).map(([disk, { file }]) => [disk, file]))
  const run = statusOf(machine.folder).run
  const spec = specOf(machine, run?.accel ?? 'tcg')
  const offer = await offerOf(machine, files, { live: true })
  await wire.call('offer', { offer: { ...offer, spec: { ...spec, machine: { ...spec.machine, version: await versionedName(qmp) } } } })
  const shared = await shareDisks(host, machine, wire, files)
  let bytes = shared ? 0 : await sendFiles(machine, wire, {}, ctx)
  await wire.call('disks', { shared, tops: files })
  const capabilities: MigrationCapability[] = [
    ...(shared ? [] : ['pause-before-switchover' as const]),
    ...(postCopy ? ['postcopy-ram' as const] : []),
  ]
  const target = await wire.call<Listening>('listen', { shared, capabilities })

  const secure =
    ticket.tls && tls !== undefined && 'host' in ticket.address ? { credentials: TLS_ID, hostname: ticket.address.host } : undefined
  if (secure && tls !== undefined) {
    await qmp.execute('object-del', { id: TLS_ID }).catch(() => {})
    await qmp.execute('object-add', credentialsObject(TLS_ID, tls, 'client'))
  }
  const nodes = Object.fromEntries(Object.entries(tops).map(([disk, { node }]) => [disk, node]))
  const mirror = target.nbd
    ? await startMirror(
        qmp,
        { nodes, to: target.nbd, ...(secure ? { tls: secure } : {}), ...(bandwidth === undefined ? {} : { bandwidth }) },
        ctx,
      )
    : undefined
  const stopped = untilStopped(qmp)
  let committed = false
  let wentOnAt = 0
  const commit = async (): Promise<void> => {
    if (committed) return
    committed = true
    await wire.call('commit', { run: wasRunning })
    wentOnAt = Date.now()
  }
  try {
    bytes += (await mirror?.bytes()) ?? 0
    const info = await migrate(
      qmp,
      {
        uri: target.memory,
        capabilities,
        phase: 'memory',
        postCopy,
        downtimeLimit: downtimeLimitMs ?? 30,
        ...(bandwidth === undefined ? {} : { bandwidth }),
        ...(secure ? { tlsCredentials: TLS_ID, tlsHostname: secure.hostname } : {}),
        onPaused: async () => mirror?.finish(),
        onSwitch: commit,
      },
      ctx,
    )
    await wire.call('arrived')
    const downtimeMs = wasRunning ? Math.max(0, wentOnAt - ((await stopped.at) ?? wentOnAt)) : 0
    const details = { qemuDowntimeMs: info.downtime ?? null, qemuTotalMs: info['total-time'] ?? null }
    return { downtimeMs, bytes: bytes + (info.ram?.transferred ?? 0), details }
  } catch (error) {
    await mirror?.cancel().catch(() => {})
    // QEMU goes on by itself after a failure of its own; not after one of ours.
    if (wasRunning) await qmp.execute('cont').catch(() => {})
    throw error
  } finally {
    stopped.forget()
  }
}

/** When the guest was stopped for the last round, by this host's clock. */
function untilStopped(qmp: Qmp): { at: Promise<number | undefined>; forget(): void } {
  const reader = qmp.events()[Symbol.asyncIterator]()
  const at = (async () => {
    for (;;) {
      const { value, done } = await reader.next()
      if (done) return undefined
      if (value.event === 'STOP') return value.at
    }
  })()
  at.catch(() => {})
  return { at, forget: () => void reader.return?.() }
}

async function offerOf(machine: Machine, tops: Readonly<Record<string, string>>, { live }: { live: boolean }): Promise<Offer> {
  const sizes: Record<string, number> = {}
  for (const [disk, top] of Object.entries(tops)) sizes[disk] = (await chainOf(machine.folder.path, top)).virtualSize
  const { boot, macs, createdAt } = machine
  return { boot, macs, createdAt, sizes, live }
}

/** Hard links into the target's folder, when it is on the same file system. What cannot be linked is sent. */
async function shareDisks(host: Host, machine: Machine, wire: Wire, tops: Readonly<Record<string, string>>): Promise<boolean> {
  if (host.options.migration.storage === 'copy') return false
  const folder = await wire.call<string>('folder')
  const probe = join(folder, 'shared')
  try {
    await link(machine.folder.record, probe)
  } catch {
    return false
  }
  try {
    const { ino } = await stat(machine.folder.record)
    if ((await wire.call<number | null>('inode', { name: 'shared' })) !== ino) return false
    for (const top of Object.values(tops)) await shareLayers(machine.folder.path, top, folder)
    for (const name of readOnlyFiles(machine.boot)) await link(join(machine.folder.path, name), join(folder, name))
    await copyVariables(machine.boot, machine.folder.path, folder)
    return true
  } finally {
    await rm(probe, { force: true })
  }
}

/** Files of the machine's own folder that it boots from and never writes to. */
function readOnlyFiles({ kernel, disks }: BootPlan): string[] {
  const disk = disks.filter(({ readOnly, bus }) => readOnly || bus === 'cdrom').map(({ path }) => path)
  return [...new Set([kernel?.path, kernel?.initrd, ...disk])].filter((path) => path !== undefined && !isAbsolute(path)) as string[]
}

/** All that the target needs and does not have; for a machine at rest with its disks, each with what it stands on. */
async function sendFiles(machine: Machine, wire: Wire, tops: Readonly<Record<string, string>>, ctx: CallContext): Promise<number> {
  const { folder, boot } = machine
  let bytes = 0
  const send = (name: string, path: string): Promise<number> =>
    wire.send(name, isAbsolute(path) ? path : join(folder.path, path), (count) => {
      bytes += count
      ctx.report({ phase: 'transfer', item: name, current: bytes, total: null, unit: 'bytes' })
    })
  const kernel = boot.kernel && { ...boot.kernel, path: 'kernel', ...(boot.kernel.initrd === undefined ? {} : { initrd: 'initrd' }) }
  if (boot.kernel) await send('kernel', boot.kernel.path)
  if (boot.kernel?.initrd !== undefined) await send('initrd', boot.kernel.initrd)
  if (boot.firmware) await send(FILES.firmware, boot.firmware.variables)
  const disks = [...boot.disks]
  for (const [index, disk] of disks.entries()) {
    const name = `${disk.id}.${disk.format === 'qcow2' ? 'qcow2' : 'img'}`
    const top = tops[disk.id]
    if (top !== undefined) {
      const flat = join(folder.path, `${disk.id}.flat.tmp`)
      try {
        await flatten({ path: join(folder.path, top), format: 'qcow2' }, flat, {}, ctx.signal)
        await send(name, flat)
      } finally {
        await rm(flat, { force: true })
      }
    } else if (disk.readOnly || disk.bus === 'cdrom') await send(name, disk.path)
    else continue
    disks[index] = { ...disk, path: name }
  }
  await wire.call('boot', { boot: { ...boot, ...(kernel ? { kernel } : {}), disks } })
  return bytes
}
