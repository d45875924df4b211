import { randomInt } from 'node:crypto'
import { existsSync } from 'node:fs'
import { type CallContext, VMKitError } from '@vmkit/core/driver'
import { withLock } from '@vmkit/core/state-folder'
import type { FifoPool } from './exec/fifos.js'
import type { Connection, Containerd, LookingClient } from './grpc/connection.js'
import { hasCode } from './grpc/errors.js'
import type { Container } from './grpc/generated/containers_pb.js'
import type { Process } from './grpc/generated/task_types_pb.js'
import { listContainers } from './grpc/list-containers.js'
import type { AnyInit } from './grpc/messages.js'
import type { ImageAccess } from './images/access.js'
import type { LogKeeper } from './logs/cap.js'
import type { ParsedOptions } from './options.js'
import { containerIdOf, idOf, LABEL, type MachineRecord, partsOfId, recordOf } from './record.js'
import { type MachineFolder, machineFolder } from './state-dir.js'
import type { Variation } from './variation.js'

/** What every operation of one driver works with. */
export interface Host {
  /** Registered name of the driver. */
  driver: string
  options: ParsedOptions
  variation: Variation
  connection: Connection
  /** The client, with its namespace there. */
  containerd(): Promise<Containerd>
  /** The same, without what a program need not load that only looks. */
  looking(): Promise<LookingClient>
  fifos: FifoPool
  images: ImageAccess
  logKeeper: LogKeeper
  /** `stateDir/<namespace>`. */
  root: string
}

/** A machine that was checked to be this driver's, and the one that the id means. */
export interface Machine {
  id: string
  containerId: string
  uid: string
  name: string
  container: Container
  record: MachineRecord
  folder: MachineFolder
}

type Signal = Pick<CallContext, 'signal'>

/** @throws VMKitError `NOT_FOUND` for what is not there, not this driver's, or a later machine of the same name */
export async function findMachine(host: Host, id: string, { signal }: Signal): Promise<Machine> {
  const parts = partsOfId(id)
  if (!parts) throw notFound(host, id)
  const containerd = await host.looking()
  try {
    const { container } = await containerd.containers.get({ id: parts.containerId }, { signal, vmId: id })
    const machine = container && machineOf(host, container)
    if (machine?.uid !== parts.uid) throw notFound(host, id)
    return machine
  } catch (error) {
    throw hasCode(error, 'NOT_FOUND') ? notFound(host, id) : error
  }
}

/** `undefined` for a container of somebody else. */
export function machineOf(host: Host, container: Container): Machine | undefined {
  const record = recordOf(container.extensions)
  if (container.labels[LABEL.mark] !== host.driver || !record || container.labels[LABEL.uid] !== record.uid) return undefined
  return {
    id: idOf(container.id, record.uid),
    containerId: container.id,
    uid: record.uid,
    name: record.config.name,
    container,
    record,
    folder: machineFolder(record.root, record.uid),
  }
}

export async function listMachines(host: Host, ctx: Signal): Promise<Machine[]> {
  const containers = await listContainers(await host.looking(), `labels."${LABEL.mark}"==${host.driver}`, ctx)
  return containers.flatMap((container) => machineOf(host, container) ?? [])
}

/** The task of a machine; `undefined` when it has none, which is so before its first start. */
export async function taskOf(host: Host, containerId: string, { signal }: Signal, vmId?: string): Promise<Process | undefined> {
  const containerd = await host.looking()
  try {
    return (await containerd.tasks.get({ containerId }, { signal, vmId })).process
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return undefined
    throw error
  }
}

/** Under the machine's lock, with what it is by then, and its task. */
export async function lockMachine<T>(
  host: Host,
  id: string,
  operation: string,
  ctx: CallContext,
  work: (machine: Machine, task: Process | undefined) => Promise<T>,
): Promise<T> {
  const parts = partsOfId(id)
  if (!parts) throw notFound(host, id)
  // Nearly always; else the machine knows which folder it was given.
  const own = machineFolder(host.root, parts.uid).path
  const folder = existsSync(own) ? own : (await findMachine(host, id, ctx)).folder.path
  return withLock({ id, folder }, operation, ctx.signal, async () =>
    work(...(await Promise.all([findMachine(host, id, ctx), taskOf(host, parts.containerId, ctx, id)]))),
  )
}

/** Id of the machine with this id or name. */
export async function findByName(host: Host, idOrName: string, { signal }: Signal): Promise<string> {
  if (partsOfId(idOrName)) return idOrName
  const containerd = await host.looking()
  try {
    const { container } = await containerd.containers.get({ id: containerIdOf(idOrName) }, { signal })
    const machine = container && machineOf(host, container)
    if (machine?.name === idOrName) return machine.id
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND', 'INVALID_CONFIG')) throw error
  }
  throw notFound(host, idOrName)
}

function notFound(host: Pick<Host, 'driver'>, id: string): VMKitError {
  return new VMKitError('NOT_FOUND', `There is no machine ${id.slice(0, 200)}`, { driver: host.driver, vmId: id })
}

/** Writes the record anew, and tells listeners what changed. */
export async function updateMachine(host: Host, machine: Machine, change: string, paths: readonly string[]): Promise<void> {
  const containerd = await host.looking()
  const { id, labels, snapshotKey, spec, extensions } = machine.container
  labels[LABEL.change] = `${change}:${randomInt(2 ** 40)}`
  const container = { id, labels, snapshotKey, spec: plain(spec), extensions: mapOf(extensions) }
  await containerd.containers.update({ container, updateMask: { paths: ['labels', ...paths] } }, { vmId: machine.id })
}

/** What was read may have parts that were made here since: as data, both are the same. */
function plain(any: AnyInit | undefined): AnyInit | undefined {
  return any && { typeUrl: any.typeUrl, value: any.value }
}

function mapOf(extensions: Readonly<Record<string, AnyInit>>): Record<string, AnyInit> {
  return Object.fromEntries(Object.entries(extensions).map(([key, { typeUrl, value }]) => [key, { typeUrl, value }]))
}

/** For clean-up after an abort: nothing ends it but the daemon. */
export function unaborted(): CallContext {
  return { signal: new AbortController().signal, deadline: undefined, report: () => {} }
}
