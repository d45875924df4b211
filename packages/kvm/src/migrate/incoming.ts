/** The side that a machine comes to. Nothing of it is listed before it is whole. */
import { randomBytes } from 'node:crypto'
import { createReadStream, rmSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type CallContext, invalidConfig, type MachineRef, type MigrationOffer, type MigrationTicket, VMKitError } from '@vmkit/core/driver'
import { findFirmware } from '../boot/firmware.js'
import { check } from '../create.js'
import { createDisk } from '../disk/image-file.js'
import { addLayer } from '../disk/layers.js'
import { withTops } from '../disk/own-disks.js'
import { DRIVER, notFound, unsupportedField } from '../errors.js'
import type { Host } from '../host.js'
import { endUnseen, launchRun } from '../lifecycle.js'
import { machineOptions } from '../machine-options.js'
import { missingOf } from '../missing.js'
import type { Attachment } from '../net/address.js'
import { checkNetworks, claimAddresses, releaseAddresses } from '../net/attach.js'
import type { MachineSpec } from '../qemu/machine-spec.js'
import type { Qmp } from '../qmp/client.js'
import { record } from '../state/journal.js'
import type { MachineFolder } from '../state/machine-folder.js'
import { type MachineRecord, newIdentity } from '../state/store.js'
import { fillVolume, placeVolumes, refuseTakenVolumes, volumeFile } from '../volumes.js'
import { onFreePort } from './free-port.js'
import type { Listening, Offer, Ticket } from './offer.js'
import { setCapabilities, untilArrived } from './outgoing.js'
import { credentialsObject } from './tls.js'
import { type Address, listen, type WireServer } from './wire.js'

const SOCKETS = { control: 'in.sock', memory: 'in-memory.sock', nbd: 'in-disks.sock' }
const TLS_ID = 'migration-tls'

interface Incoming {
  ticket: Ticket
  uuid: string
  folder: MachineFolder
  server: WireServer
  attachments: Attachment[]
  record?: MachineRecord
  offer?: Offer
  qmp?: Qmp
  arrived: boolean
}

export interface Incomings {
  prepare(offer: MigrationOffer, ctx: CallContext): Promise<MigrationTicket>
  finish(ticket: MigrationTicket): Promise<MachineRef>
  cancel(ticket: MigrationTicket): Promise<void>
  close(): Promise<void>
}

export function incomings(host: Host): Incomings {
  const open = new Map<string, Incoming>()
  const { migration } = host.options
  if (migration.tls !== undefined && migration.host === undefined)
    throw invalidConfig('options.migration.host', 'the address of this host, since TLS is asked for', undefined, { driver: DRIVER })

  async function cancel({ id }: MigrationTicket): Promise<void> {
    const incoming = open.get(id)
    if (!incoming) return
    open.delete(id)
    const closed = incoming.server.close()
    await incoming.qmp?.close()
    await endUnseen(incoming.folder)
    await closed
    // What a call of the source that was at work has still started.
    await endUnseen(incoming.folder)
    host.store.abandon(id)
    releaseAddresses(host, { id, config: incoming.ticket.config })
  }

  return {
    cancel,
    async prepare({ config, live }, ctx) {
      const options = machineOptions(config)
      check(config, options)
      if (options.uefi) findFirmware()
      checkNetworks(host, config)
      if (live && config.networks.length > 0)
        throw unsupportedField('config.networks', 'its memory holds the addresses that it has on the host that it leaves', {
          operation: 'migrate',
          capability: 'migrate.live',
        })
      refuseTakenVolumes(host.store, config)
      await host.qemu()
      host.store.cleanUp()
      const { id, uuid } = newIdentity()
      const folder = host.store.prepare(id, config.name)
      const secret = randomBytes(16).toString('hex')
      const incoming: Partial<Incoming> & Pick<Incoming, 'folder' | 'uuid'> = { folder, uuid, attachments: [], arrived: false }
      try {
        incoming.attachments = await claimAddresses(host, id, config, ctx.signal)
        ctx.signal.throwIfAborted()
        const at = migration.host === undefined ? { path: join(folder.path, SOCKETS.control) } : { host: migration.host, port: 0 }
        incoming.server = await listen(at, secret, migration.tls, {
          fileFor: (name) => join(folder.path, name),
          call: (method, args) => receive(host, incoming as Incoming, method, args),
        })
        incoming.ticket = { driver: DRIVER, id, secret, live, address: incoming.server.address, tls: migration.tls !== undefined, config }
        open.set(id, incoming as Incoming)
        return incoming.ticket
      } catch (error) {
        await incoming.server?.close()
        host.store.abandon(id)
        releaseAddresses(host, { id, config })
        throw error
      }
    },
    async finish({ id }) {
      const incoming = open.get(id)
      if (!incoming?.arrived || !incoming.record)
        throw notFound(id).with({ hint: 'The machine never arrived: run migrateOut on the source first' })
      const machine = appearWithVolumes(host, incoming.folder, incoming.record)
      open.delete(id)
      void incoming.server.close()
      await incoming.qmp?.close()
      for (const name of Object.values(SOCKETS)) rmSync(join(machine.folder.path, name), { force: true })
      record(host.options.stateDir, machine, { type: 'migrated' })
      const missing = missingOf(machine)
      return { id, ...(missing ? { missing } : {}) }
    },
    async close() {
      for (const { ticket } of [...open.values()]) await cancel(ticket)
    },
  }
}

/** One call of the source. */
async function receive(host: Host, incoming: Incoming, method: string, args: Record<string, unknown>): Promise<unknown> {
  const { folder } = incoming
  const known = (): MachineRecord => {
    if (!incoming.record) throw new VMKitError('INVALID_STATE', 'The source made no offer yet', { driver: DRIVER })
    return incoming.record
  }
  switch (method) {
    case 'offer':
      return takeOffer(incoming, args.offer as Offer)
    case 'folder':
      return folder.path
    // Whether a file that the source linked here is the one that it means.
    case 'inode':
      return statSync(join(folder.path, basename(String(args.name))), { throwIfNoEntry: false })?.ino ?? null
    case 'disks': {
      const tops = await makeDisks(incoming, args.shared === true, args.tops as Record<string, string>)
      incoming.record = { ...known(), boot: { ...known().boot, disks: withTops(known().boot.disks, tops) } }
      return null
    }
    case 'boot':
      incoming.record = { ...known(), boot: withOwnFirmware(args.boot as MachineRecord['boot']) }
      return null
    case 'listen':
      return launchIncoming(host, incoming, known(), args.shared === true, args.capabilities as never)
    case 'commit': {
      if (incoming.qmp) {
        // QEMU takes `cont` before the last byte was read, and goes on when it was.
        if (args.run === true) await incoming.qmp.execute('cont')
        else await untilArrived(incoming.qmp, new AbortController().signal)
      } else await unpackVolumes(incoming)
      incoming.arrived = true
      return null
    }
    case 'arrived':
      if (incoming.qmp) {
        await untilArrived(incoming.qmp, new AbortController().signal)
        await incoming.qmp.execute('nbd-server-stop').catch(() => {})
      }
      return null
    default:
      throw new VMKitError('UNSUPPORTED', `This vmkit knows no ${JSON.stringify(method)}`, { driver: DRIVER })
  }
}

async function unpackVolumes({ folder, ticket }: Incoming): Promise<void> {
  for (const index of ticket.config.volumes.keys()) {
    const tar = join(folder.path, volumeFile(index))
    await fillVolume(folder, index, createReadStream(tar), new AbortController().signal)
    rmSync(tar)
  }
}

function appearWithVolumes(host: Host, folder: MachineFolder, found: MachineRecord) {
  const undo = placeVolumes(host.store, folder, found.config)
  try {
    return host.store.appear(found)
  } catch (error) {
    undo()
    throw error
  }
}

function takeOffer(incoming: Incoming, offer: Offer): null {
  const { ticket, uuid, attachments } = incoming
  const { macs, createdAt } = offer
  const boot = withOwnFirmware(offer.boot)
  incoming.offer = offer
  incoming.record = { id: ticket.id, name: ticket.config.name, createdAt, uuid, macs, attachments, config: ticket.config, boot }
  return null
}

/** Its code is where this host has it; its variables come with the machine. */
function withOwnFirmware(boot: MachineRecord['boot']): MachineRecord['boot'] {
  return boot.firmware ? { ...boot, firmware: { ...boot.firmware, code: findFirmware().code } } : boot
}

/** Shared: over the layers that the source linked here, so that what runs here never writes to what the source may go on with. */
async function makeDisks({ folder, offer }: Incoming, shared: boolean, tops: Record<string, string>): Promise<Record<string, string>> {
  const made: Record<string, string> = {}
  for (const [id, size] of Object.entries(offer?.sizes ?? {})) {
    const top = tops[id]
    if (shared && top !== undefined) made[id] = await addLayer(folder.path, id, top)
    else {
      made[id] = `${id}.qcow2`
      await createDisk({ path: join(folder.path, `${id}.qcow2`), size })
    }
  }
  return made
}

async function launchIncoming(
  host: Host,
  incoming: Incoming,
  found: MachineRecord,
  shared: boolean,
  capabilities: Parameters<typeof setCapabilities>[1],
): Promise<Listening> {
  const { folder, offer } = incoming
  const { tls } = host.options.migration
  const sent = offer?.spec
  if (!sent) throw new VMKitError('INVALID_STATE', 'The source did not say what it runs', { driver: DRIVER })
  const adapt = (spec: MachineSpec): MachineSpec => {
    if (sent.accel !== spec.accel) {
      throw new VMKitError('UNSUPPORTED', `The source runs ${sent.accel}, and this host ${spec.accel}`, {
        driver: DRIVER,
        capability: 'migrate.live',
      })
    }
    return {
      ...sent,
      uuid: spec.uuid,
      disks: spec.disks,
      nics: spec.nics,
      ...(spec.kernel ? { kernel: spec.kernel } : {}),
      ...(spec.firmware ? { firmware: spec.firmware } : {}),
      objects: [...(sent.objects ?? []), ...(tls ? [credentialsObject(TLS_ID, tls, 'server')] : [])],
      incoming: 'defer',
      paused: true,
    }
  }
  const { qmp } = await launchRun(host, { ...found, folder }, adapt, new AbortController().signal)
  incoming.qmp = qmp
  await setCapabilities(qmp, capabilities)
  if (tls) await qmp.execute('migrate-set-parameters', { 'tls-creds': TLS_ID })
  const { host: address } = host.options.migration
  await qmp.execute('migrate-incoming', { uri: address === undefined ? `unix:${SOCKETS.memory}` : `tcp:${bracketed(address)}:0` })
  return {
    memory: address === undefined ? `unix:${join(folder.path, SOCKETS.memory)}` : `tcp:${bracketed(address)}:${await memoryPort(qmp)}`,
    ...(shared ? {} : { nbd: await exportDisks(qmp, folder, Object.keys(offer.sizes), address, tls) }),
  }
}

async function exportDisks(
  qmp: Qmp,
  folder: MachineFolder,
  disks: string[],
  host: string | undefined,
  tls: string | undefined,
): Promise<Address> {
  const serve = (addr: object): Promise<unknown> => qmp.execute('nbd-server-start', { addr, ...(tls ? { 'tls-creds': TLS_ID } : {}) })
  let at: Address = { path: join(folder.path, SOCKETS.nbd) }
  if (host === undefined) await serve({ type: 'unix', data: { path: SOCKETS.nbd } })
  else at = { host, port: await onFreePort(host, (port) => serve({ type: 'inet', data: { host, port: String(port) } })) }
  for (const id of disks) await qmp.execute('block-export-add', { type: 'nbd', id: `in-${id}`, 'node-name': id, name: id, writable: true })
  return at
}

async function memoryPort(qmp: Qmp): Promise<string> {
  const { 'socket-address': sockets } = await qmp.execute<{ 'socket-address'?: { port?: string }[] }>('query-migrate')
  const port = sockets?.[0]?.port
  if (port === undefined) throw new VMKitError('BACKEND_ERROR', 'QEMU does not say where it listens', { driver: DRIVER })
  return port
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
