import type { CallContext } from '@vmkit/core/driver'
import type { Engine } from './engine.js'
import { abortReason, hasCode } from './errors.js'
import { listImages } from './image-list.js'
import { LABEL } from './labels.js'
import type { Machines, Place } from './machines.js'
import type { ContainerInspect, ImageListEntry } from './wire.js'

const EXPIRES = 'vmkit.expires'

/**
 * The container's disk as an image `repo:tag`, all or nothing. The engine pauses it meanwhile. Image labels come back in
 * containers made from it and cannot be taken away, so those that would make one a machine, or expire it, are overwritten.
 */
export async function commit(
  machines: Machines,
  id: string,
  { repo, tag, label }: { repo: string; tag: string; label: string },
  ctx: CallContext,
): Promise<{ createdAt: number; sizeBytes: number | null }> {
  const place = await machines.find(id, ctx)
  const { engine } = place
  const { Config, State } = await machines.inspect(id, ctx)
  const createdAt = Date.now()
  const key = crypto.randomUUID()
  const labels: Record<string, string> = {
    [LABEL.mark]: 'image',
    [LABEL.config]: '',
    [LABEL.uid]: '',
    [LABEL.replaces]: '',
    [LABEL.waitsAs]: '',
    [LABEL.restoredFrom]: '',
    [LABEL.snapshotTag]: label,
    [LABEL.snapshotAt]: String(createdAt),
    [LABEL.snapshotKey]: key,
    ...(Config.Labels?.[EXPIRES] === undefined ? {} : { [EXPIRES]: 'never' }),
  }
  // Podman (4.3) takes labels only so, and one on a line.
  const changes = engine.isPodman ? Object.entries(labels).map(([name, value]) => `LABEL ${name}="${value}"`) : undefined
  let isAway = false
  try {
    // The engine goes on with a commit whose client has left, so an abort takes the image away afterwards.
    await engine.json({
      method: 'POST',
      path: '/commit',
      query: { container: id, repo, tag, pause: true, comment: `${repo}:${tag}`, changes: changes?.join('\n') },
      body: { Labels: labels },
      context: { vmId: id },
    })
    const [image] = await imagesOf(engine, key)
    if (ctx.signal.aborted) throw abortReason(ctx.signal)
    return { createdAt, sizeBytes: image?.Size ?? null }
  } catch (error) {
    isAway = hasCode(error, 'BACKEND_UNAVAILABLE')
    await engine.undo(async () => {
      for (const { Id } of await imagesOf(engine, key)) await removed(engine, Id)
      if (isAway && !State.Paused) await thaw(place)
    })
    throw error
  }
}

/** Also one without a name: the engine names an image after it has made it. */
function imagesOf(engine: Engine, key: string): Promise<ImageListEntry[]> {
  return listImages(engine, { filters: { label: [`${LABEL.snapshotKey}=${key}`] } })
}

async function removed(engine: Engine, image: string): Promise<void> {
  await engine.json({ method: 'DELETE', path: `/images/${image}`, query: { force: true } }).catch((error: unknown) => {
    if (!hasCode(error, 'NOT_FOUND', 'IMAGE_NOT_FOUND')) throw error
  })
}

/** An engine that dies in the middle of a commit, with live-restore, leaves the machine paused. */
async function thaw({ engine, path }: Place): Promise<void> {
  const { State } = await engine.json<ContainerInspect>({ method: 'GET', path: `${path}/json` })
  if (State.Paused) await engine.json({ method: 'POST', path: `${path}/unpause` })
}
