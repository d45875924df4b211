/** Snapshots of a machine's disk, and of its memory where CRIU is: made, listed, gone back to, cloned. Volumes and mounts are no part of them. */
import { randomBytes } from 'node:crypto'
import { type CallContext, type CloneRequest, type MachineRef, type SnapshotInfo, VMKitError } from '@vmkit/core/driver'
import { withLock } from '@vmkit/core/state-folder'
import { CLEANUP_MS } from '../cleanup.js'
import { createMachine } from '../create.js'
import { TASK_STATUS } from '../grpc/enums.js'
import { hasCode } from '../grpc/errors.js'
import { findMachine, type Host, type Machine, taskOf, unaborted, updateMachine } from '../host.js'
import { type MachineImage, unpackSource } from '../images/ensure.js'
import { withLease } from '../images/leases.js'
import { openStored } from '../images/store.js'
import { releaseNetworks } from '../net/connect.js'
import { startTask } from '../task/start.js'
import { discardTask, ended } from '../task/stop.js'
import { checkpointTask, holdMemory } from './checkpoint.js'
import { commitRootfs, whileFrozen } from './commit.js'
import { goOn } from './migrate.js'
import { prepareRootfs, removeRootfs } from './rootfs.js'
import { dropSnapshots, findSnapshot, type StoredSnapshot, saveSnapshot, snapshotsOf } from './store.js'

export async function snapshot(
  host: Host,
  id: string,
  tag: string,
  { memory }: { memory: boolean },
  ctx: CallContext,
): Promise<SnapshotInfo> {
  const containerd = await host.containerd()
  const stored = await locked(host, id, ctx, async (machine) => {
    const { uid } = machine
    const taken = () => new VMKitError('ALREADY_EXISTS', `There is a snapshot ${tag} already`, { driver: host.driver, vmId: id })
    if (await findSnapshot(containerd, uid, tag, ctx.signal)) throw taken()
    return withLease(containerd, ctx, async (lease) => {
      const { descriptor, createdAt, sizeBytes, saved } = await whileFrozen(host, machine, ctx, async () => {
        const saved = memory ? await checkpointTask(host, machine, lease, ctx) : undefined
        return { ...(await commitRootfs(host, machine, lease, ctx)), saved }
      })
      const info = { tag, createdAt, sizeBytes: sizeBytes + (saved?.size ?? 0), disk: descriptor, ...(saved ? { memory: saved } : {}) }
      if (saved) await holdMemory(containerd, descriptor.digest, saved.digest, ctx)
      await saveSnapshot(containerd, uid, info, { signal: ctx.signal, lease, vmId: id }).catch((error: unknown) => {
        throw hasCode(error, 'ALREADY_EXISTS') ? taken() : error
      })
      return { name: '', ...info }
    })
  })
  return infoOf(stored)
}

export async function listSnapshots(host: Host, id: string, ctx: CallContext): Promise<SnapshotInfo[]> {
  const { uid } = await findMachine(host, id, ctx)
  return (await snapshotsOf(await host.containerd(), uid, ctx.signal)).map(infoOf)
}

export async function deleteSnapshot(host: Host, id: string, tag: string, ctx: CallContext): Promise<void> {
  await locked(host, id, ctx, async ({ uid }) => dropSnapshots(await host.containerd(), [await required(host, id, uid, tag, ctx)]))
}

/**
 * In place: the machine keeps its id and its record, and gets another root file system. The container's record decides which one it
 * has, so whoever dies on the way leaves the old one or the new one.
 */
export async function restore(host: Host, id: string, tag: string, ctx: CallContext): Promise<MachineRef> {
  const containerd = await host.containerd()
  await locked(host, id, ctx, async (machine) => {
    const stored = await required(host, id, machine.uid, tag, ctx)
    await withLease(containerd, ctx, async (lease) => {
      const image = await imageOf(host, machine, stored, lease, ctx)
      const { snapshotter } = machine.container
      const key = `vmkit-${machine.uid}-${randomBytes(4).toString('hex')}`
      const before = machine.container.snapshotKey
      try {
        // Awaited whatever the caller does: the daemon would make it after its removal.
        await prepareRootfs(containerd, { snapshotter, key, parent: image.parent }, { lease, vmId: id })
        ctx.signal.throwIfAborted()
        await endTask(host, machine)
        machine.container.snapshotKey = key
        Object.assign(machine.container.labels, image.labels)
        await updateMachine(host, machine, `restored:${tag}`, ['snapshotkey'])
      } catch (error) {
        await removeRootfs(containerd, { snapshotter, key }, { timeoutMs: CLEANUP_MS }).catch(() => undefined)
        throw error
      }
      await removeRootfs(containerd, { snapshotter, key: before }, { vmId: id })
      if (stored.memory) await startTask(host, machine, undefined, ctx, stored.memory)
    })
  })
  return { id }
}

export async function clone(host: Host, id: string, { tag, name, labels }: CloneRequest, ctx: CallContext): Promise<MachineRef> {
  const machine = await findMachine(host, id, ctx)
  const stored = await required(host, id, machine.uid, tag, ctx)
  const { config } = machine.record
  const own = Object.fromEntries(Object.entries(config.labels).filter(([key]) => !key.startsWith('vmkit.')))
  const { ttl: _ttl, ...lasting } = config
  const image = (lease: string) => imageOf(host, machine, stored, lease, ctx)
  const made = await createMachine(host, { ...lasting, name, labels: { ...own, ...labels } }, ctx, { image, skipFiles: true })
  if (stored.memory) await goOn(host, made, stored.memory, ctx)
  return { id: made }
}

/** What a machine of this snapshot stands on. */
async function imageOf(
  host: Host,
  { id, container }: Machine,
  { disk, tag }: StoredSnapshot,
  lease: string,
  ctx: CallContext,
): Promise<MachineImage> {
  const containerd = await host.containerd()
  try {
    await using source = await openStored(containerd, container.image, disk, { signal: ctx.signal })
    return await unpackSource(host.images, source, { name: container.image, isNamed: false }, lease, ctx)
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND', 'IMAGE_NOT_FOUND')) throw error
    throw new VMKitError('NOT_FOUND', `The snapshot ${tag} is gone`, { driver: host.driver, vmId: id, cause: error })
  }
}

/** Whatever runs ends here, as a restore takes its files away; how it ended is kept. */
async function endTask(host: Host, machine: Machine): Promise<void> {
  const ctx = unaborted()
  const before = await taskOf(host, machine.containerId, ctx, machine.id)
  if (before && before.status !== TASK_STATUS.stopped) await ended(host, machine)
  const task = await taskOf(host, machine.containerId, ctx, machine.id)
  if (task) await discardTask(host, machine, task)
  await releaseNetworks(host, machine)
}

async function locked<T>(host: Host, id: string, ctx: CallContext, work: (machine: Machine) => Promise<T>): Promise<T> {
  const { folder } = await findMachine(host, id, ctx)
  return withLock({ id, folder: folder.path }, 'snapshot', ctx.signal, async () => work(await findMachine(host, id, ctx)))
}

async function required(host: Host, id: string, uid: string, tag: string, { signal }: CallContext): Promise<StoredSnapshot> {
  const found = await findSnapshot(await host.containerd(), uid, tag, signal)
  if (!found) throw new VMKitError('NOT_FOUND', `There is no snapshot ${tag}`, { driver: host.driver, vmId: id })
  return found
}

const infoOf = ({ tag, createdAt, sizeBytes, memory }: StoredSnapshot): SnapshotInfo => ({
  tag,
  createdAt,
  memory: memory !== undefined,
  sizeBytes,
})
