import { randomUUID } from 'node:crypto'
import { VMKitError } from '@vmkit/core'
import { type CallContext, type CloneRequest, invalidConfig, type MachineConfig, type SnapshotInfo } from '@vmkit/core/driver'
import { commit } from './commit.js'
import { createContainer } from './create.js'
import type { Engine } from './engine.js'
import { hasCode } from './errors.js'
import { configOf, LABEL } from './labels.js'
import { type Machines, unaborted } from './machines.js'
import { dropSnapshotImage, snapshotImages, snapshotRepo } from './snapshot-images.js'
import type { ContainerInspect } from './wire.js'

/** Disk snapshots: images made by commit. Volumes and mounts are not part of them. */
export async function snapshot(
  machines: Machines,
  id: string,
  tag: string,
  options: { memory: boolean },
  ctx: CallContext,
): Promise<SnapshotInfo> {
  if (options.memory)
    throw new VMKitError('UNSUPPORTED', 'This driver saves no memory so far', { driver: 'docker', capability: 'snapshot.memory', vmId: id })
  const { engine, uid } = await subject(machines, id, ctx)
  if (await findImage(engine, uid, tag, ctx))
    throw new VMKitError('ALREADY_EXISTS', `There is a snapshot ${tag} already`, { driver: 'docker', vmId: id })
  const { createdAt } = await commit(machines, id, { repo: snapshotRepo(uid), tag, label: tag }, ctx)
  const image = await findImage(engine, uid, tag, ctx)
  return { tag, createdAt, memory: false, sizeBytes: image?.Size ?? null }
}

export async function listSnapshots(machines: Machines, id: string, ctx: CallContext): Promise<SnapshotInfo[]> {
  const { engine, uid } = await subject(machines, id, ctx)
  const images = await snapshotImages(engine, uid, ctx)
  return images
    .map(({ tag, Created, Labels, Size }) => ({
      tag,
      createdAt: Number(Labels?.[LABEL.snapshotAt]) || Created * 1000,
      memory: false,
      sizeBytes: Size,
    }))
    .sort((left, right) => left.createdAt - right.createdAt)
}

export async function deleteSnapshot(machines: Machines, id: string, tag: string, ctx: CallContext): Promise<void> {
  const { engine, uid } = await subject(machines, id, ctx)
  const { reference } = await requireImage(engine, uid, id, tag, ctx)
  await dropSnapshotImage(engine, reference, ctx)
}

/**
 * A new container from the image takes the place and the name of the old one. It is made first, under another name and
 * marked as a replacement: whoever dies in between leaves either the old machine, or the new one, never none.
 */
export async function restore(machines: Machines, id: string, tag: string, ctx: CallContext): Promise<{ id: string }> {
  const { engine, uid, config, container } = await subject(machines, id, ctx)
  const { Id: image } = await requireImage(engine, uid, id, tag, ctx)
  const earlier = Object.keys(container.Config.Labels ?? {}).filter((key) => key.startsWith(LABEL.previous))
  const extraLabels = Object.fromEntries([...earlier, `${LABEL.previous}${id}`].map((key) => [key, 'true']))
  const next = await createContainer(engine, undefined, config, ctx, {
    containerName: `${config.name}.${randomUUID().slice(0, 8)}`,
    image,
    uid,
    extraLabels: { ...extraLabels, [LABEL.replaces]: id, [LABEL.restoredFrom]: tag },
    skipFiles: true,
  })
  // From here on it goes through: half a restore would be worse than a late one.
  const { signal } = unaborted()
  try {
    await engine.json({ method: 'DELETE', path: `/containers/${id}`, query: { force: true, v: true }, signal, context: { vmId: id } })
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND')) {
      await engine.json({ method: 'DELETE', path: `/containers/${next}`, query: { force: true, v: true }, signal }).catch(() => {})
      throw error
    }
  }
  machines.forget(id)
  await engine.json({ method: 'POST', path: `/containers/${next}/rename`, query: { name: config.name }, signal, context: { vmId: next } })
  return { id: next }
}

export async function clone(
  machines: Machines,
  id: string,
  { tag, name, labels }: CloneRequest,
  ctx: CallContext,
): Promise<{ id: string }> {
  const { engine, uid, config } = await subject(machines, id, ctx)
  const { Id: image } = await requireImage(engine, uid, id, tag, ctx)
  const own = Object.fromEntries(Object.entries(config.labels).filter(([key]) => !key.startsWith('vmkit.')))
  const { ttl: _ttl, ...lasting } = config
  return {
    id: await createContainer(engine, undefined, { ...lasting, name, labels: { ...own, ...labels } }, ctx, { image, skipFiles: true }),
  }
}

interface Subject {
  engine: Engine
  container: ContainerInspect
  config: MachineConfig
  uid: string
}

async function subject(machines: Machines, id: string, ctx: CallContext): Promise<Subject> {
  const container = await machines.inspect(id, ctx)
  const config = configOf(container.Config.Labels)
  const uid = container.Config.Labels?.[LABEL.uid]
  if (!config || !uid) throw invalidConfig('labels', 'the labels that vmkit gave the container', 'others', { driver: 'docker', vmId: id })
  return { engine: await machines.engine(ctx), container, config, uid }
}

async function findImage(engine: Engine, uid: string, tag: string, ctx: CallContext) {
  return (await snapshotImages(engine, uid, ctx)).find((image) => image.tag === tag)
}

async function requireImage(engine: Engine, uid: string, id: string, tag: string, ctx: CallContext) {
  const found = await findImage(engine, uid, tag, ctx)
  if (!found) throw new VMKitError('NOT_FOUND', `There is no snapshot ${tag}`, { driver: 'docker', vmId: id })
  return found
}
