import { VMKitError } from '@vmkit/core'
import {
  type CallContext,
  type CloneRequest,
  invalidConfig,
  type MachineConfig,
  type MachineRef,
  type SnapshotInfo,
} from '@vmkit/core/driver'
import { checkpoints, createCheckpoint, deleteCheckpoint, startFromCheckpoint } from './checkpoints.js'
import { commit } from './commit.js'
import { createContainer } from './create.js'
import type { Engine } from './engine.js'
import { hasCode } from './errors.js'
import { configOf, LABEL } from './labels.js'
import { type Machines, type Place, unaborted } from './machines.js'
import { missingOf, NO_MEMORY_CLONE, refOf } from './missing.js'
import { dropSnapshotImage, snapshotImages, snapshotRepo } from './snapshot-images.js'
import type { ContainerInspect } from './wire.js'

/** Of the disk: an image made by commit, without volumes and mounts. Of the memory: a checkpoint. Both share their tags. */
export async function snapshot(
  machines: Machines,
  id: string,
  tag: string,
  options: { memory: boolean },
  ctx: CallContext,
): Promise<SnapshotInfo> {
  const { engine, uid, place, config } = await subject(machines, id, ctx)
  if ((await findImage(engine, uid, tag, ctx)) ?? (await findCheckpoint(place, tag, ctx)))
    throw new VMKitError('ALREADY_EXISTS', `There is a snapshot ${tag} already`, { driver: 'docker', vmId: id })
  if (options.memory) {
    const reason = missingOf(config)['snapshot.memory']
    if (reason !== undefined) throw new VMKitError('UNSUPPORTED', reason, { driver: 'docker', capability: 'snapshot.memory', vmId: id })
    return createCheckpoint(place, tag, ctx)
  }
  return { tag, memory: false, ...(await commit(machines, id, { repo: snapshotRepo(uid), tag, label: tag }, ctx)) }
}

export async function listSnapshots(machines: Machines, id: string, ctx: CallContext): Promise<SnapshotInfo[]> {
  const { engine, uid, place } = await subject(machines, id, ctx)
  const [images, memories] = await Promise.all([snapshotImages(engine, uid, ctx), checkpoints(place, ctx)])
  const disks = images.map(({ tag, Created, Labels, Size }) => ({
    tag,
    createdAt: Number(Labels?.[LABEL.snapshotAt]) || Created * 1000,
    memory: false,
    sizeBytes: Size,
  }))
  return [...disks, ...memories.map(({ tag, createdAt }) => ({ tag, createdAt, memory: true, sizeBytes: null }))].sort(
    (left, right) => left.createdAt - right.createdAt,
  )
}

export async function deleteSnapshot(machines: Machines, id: string, tag: string, ctx: CallContext): Promise<void> {
  const { engine, uid, place } = await subject(machines, id, ctx)
  const saved = await findCheckpoint(place, tag, ctx)
  if (saved) return deleteCheckpoint(place, saved.name)
  const { reference } = await requireImage(engine, uid, id, tag, ctx)
  await dropSnapshotImage(engine, reference, ctx)
}

/** With memory, the container itself runs on from there; without, see `restoreDisk`. */
export async function restore(machines: Machines, id: string, tag: string, ctx: CallContext): Promise<MachineRef> {
  const { place, config } = await subject(machines, id, ctx)
  const memories = await checkpoints(place, ctx)
  const saved = memories.find((memory) => memory.tag === tag)
  if (saved) {
    await startFromCheckpoint(place, saved.name)
    machines.started(id)
    return refOf(id, config)
  }
  if (memories.length === 0) return restoreDisk(machines, id, tag, ctx)
  const tags = memories.map((memory) => memory.tag).join(', ')
  throw new VMKitError('CONFLICT', `Restoring the disk makes a new container, and the engine keeps memory with the old one`, {
    driver: 'docker',
    vmId: id,
    hint: `Delete the memory snapshots of this machine first: ${tags}`,
  })
}

/**
 * A new container from the image takes the place and the name of the old one. It is made first, under another name and
 * marked as a replacement: whoever dies in between leaves either the old machine, or the new one, never none.
 */
async function restoreDisk(machines: Machines, id: string, tag: string, ctx: CallContext): Promise<MachineRef> {
  const { engine, uid, config, container } = await subject(machines, id, ctx)
  const { Id: image } = await requireImage(engine, uid, id, tag, ctx)
  const earlier = Object.keys(container.Config.Labels ?? {}).filter((key) => key.startsWith(LABEL.previous))
  const extraLabels = Object.fromEntries([...earlier, `${LABEL.previous}${id}`].map((key) => [key, 'true']))
  const containerName = `${config.name}.${crypto.randomUUID().slice(0, 8)}`
  const next = await fromSnapshot(id, tag, () =>
    createContainer(engine, undefined, config, ctx, {
      containerName,
      image,
      uid,
      extraLabels: { ...extraLabels, [LABEL.replaces]: id, [LABEL.waitsAs]: containerName, [LABEL.restoredFrom]: tag },
      skipFiles: true,
    }),
  )
  // From here on it goes through: half a restore would be worse than a late one.
  const { signal } = unaborted()
  try {
    await engine.json({ method: 'DELETE', path: `/containers/${id}`, query: { force: true, v: true }, signal, context: { vmId: id } })
  } catch (error) {
    // Also when another process has deleted it, or restored it, in the middle: this one then has nothing to replace.
    await engine.json({ method: 'DELETE', path: `/containers/${next}`, query: { force: true, v: true }, signal }).catch(() => {})
    throw hasCode(error, 'NOT_FOUND')
      ? await machines.inspect(id, unaborted()).then(
          () => error,
          (gone: unknown) => gone,
        )
      : error
  }
  machines.forget(id)
  await engine.json({ method: 'POST', path: `/containers/${next}/rename`, query: { name: config.name }, signal, context: { vmId: next } })
  return refOf(next, config)
}

export async function clone(machines: Machines, id: string, { tag, name, labels }: CloneRequest, ctx: CallContext): Promise<MachineRef> {
  const { engine, uid, config, place } = await subject(machines, id, ctx)
  if (await findCheckpoint(place, tag, ctx))
    throw new VMKitError('UNSUPPORTED', NO_MEMORY_CLONE, { driver: 'docker', vmId: id, capability: 'clone.memory' })
  const { Id: image } = await requireImage(engine, uid, id, tag, ctx)
  const own = Object.fromEntries(Object.entries(config.labels).filter(([key]) => !key.startsWith('vmkit.')))
  const { ttl: _ttl, ...lasting } = config
  const made = { ...lasting, name, labels: { ...own, ...labels } }
  return refOf(await fromSnapshot(id, tag, () => createContainer(engine, undefined, made, ctx, { image, skipFiles: true })), made)
}

/** The snapshot may go after it was found. */
async function fromSnapshot(id: string, tag: string, create: () => Promise<string>): Promise<string> {
  return create().catch((error: unknown) => {
    throw hasCode(error, 'IMAGE_NOT_FOUND') ? noSnapshot(id, tag) : error
  })
}

interface Subject {
  engine: Engine
  place: Place
  container: ContainerInspect
  config: MachineConfig
  uid: string
}

async function subject(machines: Machines, id: string, ctx: CallContext): Promise<Subject> {
  const container = await machines.inspect(id, ctx)
  const config = configOf(container.Config.Labels, container.Name)
  const uid = container.Config.Labels?.[LABEL.uid]
  if (!config || !uid) throw invalidConfig('labels', 'the labels that vmkit gave the container', 'others', { driver: 'docker', vmId: id })
  return { engine: await machines.engine(ctx), place: await machines.at(id, ctx), container, config, uid }
}

async function findImage(engine: Engine, uid: string, tag: string, ctx: CallContext) {
  return (await snapshotImages(engine, uid, ctx)).find((image) => image.tag === tag)
}

async function findCheckpoint(place: Place, tag: string, ctx: CallContext) {
  return (await checkpoints(place, ctx)).find((memory) => memory.tag === tag)
}

async function requireImage(engine: Engine, uid: string, id: string, tag: string, ctx: CallContext) {
  const found = await findImage(engine, uid, tag, ctx)
  if (!found) throw noSnapshot(id, tag)
  return found
}

function noSnapshot(id: string, tag: string): VMKitError {
  return new VMKitError('NOT_FOUND', `There is no snapshot ${tag}`, { driver: 'docker', vmId: id })
}
