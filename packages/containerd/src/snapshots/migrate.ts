/**
 * To another containerd of this host: another socket, or another namespace. The source writes the root file system into the target's
 * content store under a name of the ticket, which the target makes a machine of; a live machine brings its memory along.
 */
import { randomUUID } from 'node:crypto'
import {
  type CallContext,
  type Capability,
  type MachineConfig,
  type MachineRef,
  type MigrationOffer,
  type MigrationStats,
  type MigrationTicket,
  VMKitError,
} from '@vmkit/core/driver'
import { withLock } from '@vmkit/core/state-folder'
import type { Descriptor } from '@vmkit/oci'
import { createMachine, refuseTakenName } from '../create.js'
import { connection } from '../grpc/connection.js'
import { TASK_STATUS } from '../grpc/enums.js'
import { hasCode } from '../grpc/errors.js'
import { findMachine, type Host, listMachines, type Machine, taskOf } from '../host.js'
import { imageAccess } from '../images/access.js'
import { readBlob, writeBlob } from '../images/content.js'
import { descriptorOf, INTERNAL_IMAGE_LABEL } from '../images/descriptor.js'
import { unpackSource } from '../images/ensure.js'
import { withLease } from '../images/leases.js'
import { placeImage } from '../images/place.js'
import { openStored } from '../images/store.js'
import { machineOptions } from '../machine-options.js'
import { checkNetworks } from '../net/networks.js'
import { remove } from '../task/delete.js'
import { startTask } from '../task/start.js'
import { dropVolumes, incomingVolumes, refuseTakenVolumes } from '../volumes.js'
import { checkpointTask, holdMemory } from './checkpoint.js'
import { commitRootfs } from './commit.js'
import { fillVolumes, packVolumes } from './volume-tars.js'

interface Ticket extends MigrationTicket {
  socketPath: string
  namespace: string
  config: MachineConfig
  live: boolean
}

/** On the image that arrives: the descriptor of the memory that belongs to it, as JSON. */
const MEMORY_LABEL = 'io.vmkit.incoming.memory'

/** On the same image: the tar of a volume, which the collector of garbage leaves alone for it (containerd's docs/garbage-collection.md). */
const volumeLabel = (index: number) => `containerd.io/gc.ref.content.vmkit-volume-${index}`

const nameOf = ({ id }: Pick<MigrationTicket, 'id'>) => `vmkit.local/incoming/${id}:1`

export async function prepareIncoming(host: Host, { config, live }: MigrationOffer, ctx: CallContext): Promise<MigrationTicket> {
  const { driver, options } = host
  await refuseTakenName(host, config.name, ctx)
  // What this host cannot honour is said before anything is sent.
  machineOptions(config, driver)
  checkNetworks(host, config)
  refuseTakenVolumes(host, config.volumes)
  if (live && config.ports.length > 0) {
    throw unsupported(
      host,
      'config.ports',
      'Source and target share this host, so a machine that runs holds its ports until it is gone',
      'migrate.live',
    )
  }
  const ticket: Ticket = { driver, id: randomUUID(), socketPath: options.socketPath, namespace: options.namespace, config, live }
  return ticket
}

export async function migrateOut(
  host: Host,
  id: string,
  ticket: MigrationTicket,
  { live }: { live: boolean },
  ctx: CallContext,
): Promise<MigrationStats> {
  const { socketPath, namespace } = ticket as Ticket
  const found = await findMachine(host, id, ctx)
  if (namespace === host.options.namespace && socketPath !== host.options.socketPath) {
    throw new VMKitError(
      'UNSUPPORTED',
      `Two daemons of one host cannot both have machines in the namespace ${namespace}: runc keeps them in one folder`,
      {
        driver: host.driver,
        vmId: id,
        capability: 'migrate.cold',
        hint: 'Give the target another namespace',
      },
    )
  }
  const link = connection({ socketPath, namespace, driver: host.driver })
  try {
    const source = await host.containerd()
    return await withLock({ id, folder: found.folder.path }, 'migrate', ctx.signal, () =>
      withLease(source, ctx, async (lease) => {
        const machine = await findMachine(host, id, ctx)
        const frozenAt = performance.now()
        if (live) await freeze(host, machine)
        try {
          const memory = live ? await checkpointTask(host, machine, lease, ctx) : undefined
          const { descriptor } = await commitRootfs(host, machine, lease, ctx)
          // Volumes too are read while it is frozen: files that it has open are as long there as its memory says.
          const bytes = await send(host, link, { ticket, descriptor, memory, volumes: machine.record.config.volumes }, ctx)
          // A live one stays frozen: if the target cannot go on, this one can.
          return { downtimeMs: live ? performance.now() - frozenAt : 0, bytes }
        } catch (error) {
          if (live) await source.tasks.resume({ containerId: machine.containerId }, { vmId: id }).catch(() => undefined)
          throw error
        }
      }),
    )
  } finally {
    link.close()
  }
}

async function freeze(host: Host, { id, containerId }: Machine): Promise<void> {
  const { tasks } = await host.containerd()
  const task = await taskOf(host, containerId, { signal: new AbortController().signal }, id)
  if (task?.status !== TASK_STATUS.running)
    throw new VMKitError('INVALID_STATE', 'The machine does not run', { driver: host.driver, vmId: id })
  await tasks.pause({ containerId }, { vmId: id })
}

interface Shipment {
  ticket: MigrationTicket
  descriptor: Descriptor
  memory: Descriptor | undefined
  volumes: MachineConfig['volumes']
}

/** Returns how many bytes were sent: what the target had already is not among them. */
async function send(
  host: Host,
  link: ReturnType<typeof connection>,
  { ticket, descriptor, memory, volumes }: Shipment,
  ctx: CallContext,
): Promise<number> {
  const source = await host.containerd()
  const target = await link.get()
  let bytes = 0
  async function* counted(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of content) {
      bytes += chunk.length
      ctx.report({ phase: 'transfer', current: bytes, total: null, unit: 'bytes' })
      yield chunk
    }
  }
  const { signal } = ctx
  const stored = (digest: string, offset: number) => counted(readBlob(source, digest, { signal, offset }))
  await using image = await openStored(source, nameOf(ticket), descriptor, { signal: ctx.signal })
  const counting = { ...image, blob: ({ digest }: Descriptor, options?: { offset?: number }) => stored(digest, options?.offset ?? 0) }
  const tars = await packVolumes(host, volumes, ctx)
  try {
    const labels = {
      [INTERNAL_IMAGE_LABEL]: 'incoming',
      ...(memory ? { [MEMORY_LABEL]: JSON.stringify(memory) } : {}),
      ...Object.fromEntries(tars.map(({ digest }, index) => [volumeLabel(index), digest])),
    }
    await withLease(target, ctx, async (lease) => {
      if (memory) {
        const content = (offset: number) => stored(memory.digest, offset)
        await writeBlob(target, { descriptor: memory, content, lease, signal })
      }
      for (const { digest, size, read } of tars) {
        const descriptor = { mediaType: 'application/x-tar', digest, size }
        await writeBlob(target, { descriptor, content: (offset) => counted(read({ offset })), lease, signal })
      }
      await placeImage(imageAccess(link, {}), counting, { name: nameOf(ticket), labels }, ctx)
      if (memory) await holdMemory(target, descriptor.digest, memory.digest, ctx)
    })
  } finally {
    for (const tar of tars) await tar.remove()
  }
  return bytes
}

export async function finishIncoming(host: Host, ticket: MigrationTicket, ctx: CallContext): Promise<MachineRef> {
  const { config } = ticket as Ticket
  const containerd = await host.containerd()
  const name = nameOf(ticket)
  const { image } = await containerd.images.get({ name }, { signal: ctx.signal }).catch((error: unknown) => {
    if (!hasCode(error, 'NOT_FOUND')) throw error
    throw new VMKitError('NOT_FOUND', 'The machine never arrived: run migrateOut on the source first', {
      driver: host.driver,
      cause: error,
    })
  })
  if (!image?.target) throw new VMKitError('BACKEND_ERROR', `The image ${name} has no target`, { driver: host.driver })
  const root = descriptorOf(image.target)
  const variant = async (lease: string) => {
    await using source = await openStored(containerd, name, root, { signal: ctx.signal })
    return unpackSource(host.images, source, { name: config.image ?? '', isNamed: false }, lease, ctx)
  }
  const content = (index: number) => readBlob(containerd, image.labels[volumeLabel(index)] ?? '', { signal: ctx.signal })
  const undo = await fillVolumes(host, config.volumes, content, ctx, ticket.id)
  const id = await arrive().catch((error: unknown) => {
    undo()
    throw error
  })
  await forget(host, name)
  return { id }

  async function arrive(): Promise<string> {
    const made = await createMachine(host, config, ctx, { image: variant, skipFiles: true, extra: { incoming: ticket.id } })
    const memory = image?.labels[MEMORY_LABEL]
    if (memory !== undefined) await goOn(host, made, JSON.parse(memory) as Descriptor, ctx)
    return made
  }
}

/** Starts a machine that was just made where its memory was saved. All or nothing. */
export async function goOn(host: Host, id: string, memory: Descriptor, ctx: CallContext): Promise<void> {
  try {
    const { folder } = await findMachine(host, id, ctx)
    await withLock({ id, folder: folder.path }, 'migrate', ctx.signal, async () =>
      startTask(host, await findMachine(host, id, ctx), undefined, ctx, memory),
    )
  } catch (error) {
    await remove(host, id, true, { ...ctx, signal: new AbortController().signal }).catch(() => undefined)
    throw error
  }
}

export async function cancelIncoming(host: Host, ticket: MigrationTicket, ctx: CallContext): Promise<void> {
  for (const { id, record } of await listMachines(host, ctx)) {
    if (record.extra?.incoming === ticket.id) await remove(host, id, true, ctx)
  }
  dropVolumes(host, incomingVolumes(host, ticket.id))
  await forget(host, nameOf(ticket))
}

async function forget(host: Host, name: string): Promise<void> {
  const { images } = await host.containerd()
  await images.delete({ name, sync: true }).catch((error: unknown) => {
    if (!hasCode(error, 'NOT_FOUND')) throw error
  })
}

function unsupported({ driver }: Host, field: string, message: string, capability: Capability): VMKitError {
  return new VMKitError('UNSUPPORTED', message, { driver, field, capability })
}
