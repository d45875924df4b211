import type { CallContext } from '@vmkit/core/driver'
import type { Engine } from './engine.js'
import { hasCode } from './errors.js'
import { listImages } from './image-list.js'
import type { Facts } from './machines.js'
import type { ImageInspect, ImageListEntry } from './wire.js'

/*
 * A snapshot is an image `vmkit-snapshot/<uid of the machine>:<tag>`. One that was deleted while a clone still needs it
 * lives on as `vmkit-base/…` and goes with its last child.
 */
const SNAPSHOTS = 'vmkit-snapshot/'
const BASES = 'vmkit-base/'
export const BASE_TAG = 'kept'

export function snapshotRepo(uid: string): string {
  return `${SNAPSHOTS}${uid}`
}

/** An image that exists for the machines that stand on it. */
export function baseRepo(key: string): string {
  return `${BASES}${key}`
}

export function isSnapshotReference(reference: string): boolean {
  const own = withoutRegistry(reference)
  return own.startsWith(SNAPSHOTS) || own.startsWith(BASES)
}

/** Podman puts a registry before every name. */
function withoutRegistry(reference: string): string {
  return reference.replace(/^(docker\.io|localhost)\//, '')
}

export async function snapshotImages(
  engine: Engine,
  uid: string,
  { signal }: Pick<CallContext, 'signal'>,
): Promise<(ImageListEntry & { tag: string; reference: string })[]> {
  const images = await listImages(engine, { filters: { reference: [`${snapshotRepo(uid)}:*`] }, signal })
  const prefix = `${snapshotRepo(uid)}:`
  return images.flatMap((image) =>
    (image.RepoTags ?? [])
      .map(withoutRegistry)
      .filter((reference) => reference.startsWith(prefix))
      .map((reference) => ({ ...image, reference, tag: reference.slice(prefix.length) })),
  )
}

/** Removes a snapshot's name, and its data unless a clone stands on it. One that somebody removes meanwhile is gone too. */
export async function dropSnapshotImage(engine: Engine, reference: string, { signal }: Pick<CallContext, 'signal'>): Promise<void> {
  let base: string | undefined
  try {
    // Again when a clone that went at the same moment took the base's name along, so at most once for each clone.
    while (!(await isDropped(engine, reference, signal))) base = await keepAsBase(engine, reference, signal)
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND', 'IMAGE_NOT_FOUND')) throw error
  }
  // The last clone may have gone since the refusal, and it saw no base to take along.
  if (base) await dropBase(engine, base, { signal })
}

/** `false` when this is the last name of an image that a machine stands on. */
async function isDropped(engine: Engine, reference: string, signal: AbortSignal): Promise<boolean> {
  try {
    await engine.json({ method: 'DELETE', path: `/images/${reference}`, signal })
    return true
  } catch (error) {
    if (hasCode(error, 'CONFLICT', 'INVALID_STATE')) return false
    throw error
  }
}

/** Gives the image a second name, and returns its id. */
async function keepAsBase(engine: Engine, reference: string, signal: AbortSignal): Promise<string> {
  const { Id } = await engine.json<ImageInspect>({ method: 'GET', path: `/images/${reference}/json`, signal })
  await engine.json({
    method: 'POST',
    path: `/images/${reference}/tag`,
    query: { repo: baseRepo(Id.replace('sha256:', '')), tag: BASE_TAG },
    signal,
  })
  return Id
}

/**
 * Looks for what goes with a machine, while it is still there, and returns what removes that afterwards: its snapshots, and
 * the base it stood on when that waited for its last child.
 */
export function imagesToClean(
  engine: Engine,
  { uid, isBased, image }: Pick<Facts, 'uid' | 'isBased' | 'image'>,
  ctx: Pick<CallContext, 'signal'>,
): () => Promise<void> {
  const snapshots = uid === undefined ? Promise.resolve([]) : snapshotImages(engine, uid, ctx)
  snapshots.catch(() => {})
  return async () => {
    if (isBased) await dropBase(engine, image, ctx)
    for (const { reference } of await snapshots) await dropSnapshotImage(engine, reference, ctx)
  }
}

async function dropBase(engine: Engine, image: string, { signal }: Pick<CallContext, 'signal'>): Promise<void> {
  try {
    const { RepoTags, Comment } = await engine.json<ImageInspect>({ method: 'GET', path: `/images/${image}/json`, signal })
    const names = (RepoTags ?? []).filter((reference) => withoutRegistry(reference).startsWith(BASES))
    // Two that each took one of its last two names away at the same moment left it without any.
    if ((RepoTags ?? []).length === 0 && isSnapshotReference(Comment ?? '')) names.push(image)
    for (const reference of names) await engine.json({ method: 'DELETE', path: `/images/${reference}`, signal })
  } catch (error) {
    // Another child still stands on it, or it is gone already.
    if (!hasCode(error, 'CONFLICT', 'INVALID_STATE', 'NOT_FOUND', 'IMAGE_NOT_FOUND')) throw error
  }
}
