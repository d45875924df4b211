/** Snapshots of machines are images that no list shows, under a name that says of which machine and tag. */
import { createHash } from 'node:crypto'
import type { Descriptor } from '@vmkit/oci'
import type { Containerd } from '../grpc/connection.js'
import { hasCode } from '../grpc/errors.js'
import type { Image } from '../grpc/generated/images_pb.js'
import { descriptorOf, INTERNAL_IMAGE_LABEL } from '../images/descriptor.js'

const LABEL = {
  uid: 'io.vmkit.snapshot.uid',
  tag: 'io.vmkit.snapshot.tag',
  at: 'io.vmkit.snapshot.at',
  size: 'io.vmkit.snapshot.size',
  /** Descriptor of the saved memory, as JSON. */
  memory: 'io.vmkit.snapshot.memory',
} as const

export interface StoredSnapshot {
  name: string
  tag: string
  createdAt: number
  sizeBytes: number
  /** Of the manifest of its disk. */
  disk: Descriptor
  memory?: Descriptor
}

/** A tag may be any text; the name of an image may not. */
function nameOf(uid: string, tag: string): string {
  return `vmkit.local/snapshot/${uid}:${createHash('sha256').update(tag).digest('hex').slice(0, 40)}`
}

/** Atomic. @throws `ALREADY_EXISTS` */
export async function saveSnapshot(
  containerd: Containerd,
  uid: string,
  { tag, createdAt, sizeBytes, disk, memory }: Omit<StoredSnapshot, 'name'>,
  options: { signal: AbortSignal; lease: string; vmId: string },
): Promise<void> {
  const labels = {
    [INTERNAL_IMAGE_LABEL]: 'snapshot',
    [LABEL.uid]: uid,
    [LABEL.tag]: tag,
    [LABEL.at]: String(createdAt),
    [LABEL.size]: String(sizeBytes),
    ...(memory === undefined ? {} : { [LABEL.memory]: JSON.stringify(memory) }),
  }
  const target = { mediaType: disk.mediaType, digest: disk.digest, size: BigInt(disk.size) }
  await containerd.images.create({ image: { name: nameOf(uid, tag), labels, target } }, options)
}

/** The oldest first. */
export async function snapshotsOf(containerd: Containerd, uid: string, signal?: AbortSignal): Promise<StoredSnapshot[]> {
  const { images } = await containerd.images.list({ filters: [`labels."${LABEL.uid}"==${uid}`] }, { signal })
  return images.flatMap((image) => readSnapshot(image) ?? []).sort((left, right) => left.createdAt - right.createdAt)
}

export async function findSnapshot(
  containerd: Containerd,
  uid: string,
  tag: string,
  signal: AbortSignal,
): Promise<StoredSnapshot | undefined> {
  try {
    const { image } = await containerd.images.get({ name: nameOf(uid, tag) }, { signal })
    return image && readSnapshot(image)
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return undefined
    throw error
  }
}

/** What only they held goes with them, at once. */
export async function dropSnapshots(containerd: Containerd, snapshots: readonly Pick<StoredSnapshot, 'name'>[]): Promise<void> {
  for (const [index, { name }] of snapshots.entries()) {
    await containerd.images.delete({ name, sync: index === snapshots.length - 1 }).catch((error: unknown) => {
      if (!hasCode(error, 'NOT_FOUND')) throw error
    })
  }
}

function readSnapshot({ name, labels, target }: Image): StoredSnapshot | undefined {
  const tag = labels[LABEL.tag]
  if (tag === undefined || target === undefined) return undefined
  const memory = labels[LABEL.memory]
  return {
    name,
    tag,
    createdAt: Number(labels[LABEL.at]),
    sizeBytes: Number(labels[LABEL.size]),
    disk: descriptorOf(target),
    ...(memory === undefined ? {} : { memory: JSON.parse(memory) as Descriptor }),
  }
}

/** With the machine: see `task/delete.ts`. Clones hold what they stand on by themselves. */
export async function removeSnapshots(containerd: Containerd, uid: string): Promise<void> {
  await dropSnapshots(containerd, await snapshotsOf(containerd, uid))
}
