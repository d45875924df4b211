import type { CallContext } from '@vmkit/core/driver'
import { abortReason } from './errors.js'
import { LABEL } from './labels.js'
import { type Machines, unaborted } from './machines.js'

const EXPIRES = 'vmkit.expires'

/**
 * The container's disk as an image `repo:tag`. The engine pauses it meanwhile. Image labels come back in containers made
 * from it and cannot be taken away, so those that would make one a machine, or expire it, are overwritten.
 */
export async function commit(
  machines: Machines,
  id: string,
  { repo, tag, label }: { repo: string; tag: string; label: string },
  ctx: CallContext,
): Promise<{ createdAt: number }> {
  const { engine } = await machines.find(id, ctx)
  const { Config } = await machines.inspect(id, ctx)
  const createdAt = Date.now()
  const { signal } = unaborted()
  const labels: Record<string, string> = {
    [LABEL.mark]: 'image',
    [LABEL.config]: '',
    [LABEL.uid]: '',
    [LABEL.replaces]: '',
    [LABEL.waitsAs]: '',
    [LABEL.restoredFrom]: '',
    [LABEL.snapshotTag]: label,
    [LABEL.snapshotAt]: String(createdAt),
    ...(Config.Labels?.[EXPIRES] === undefined ? {} : { [EXPIRES]: 'never' }),
  }
  // Podman (4.3) takes labels only so, and one on a line.
  const changes = engine.isPodman ? Object.entries(labels).map(([key, value]) => `LABEL ${key}="${value}"`) : undefined
  // The engine goes on with a commit whose client has left, so an abort takes the image away afterwards.
  await engine.json({
    method: 'POST',
    path: '/commit',
    query: { container: id, repo, tag, pause: true, comment: `${repo}:${tag}`, changes: changes?.join('\n') },
    body: { Labels: labels },
    signal,
    context: { vmId: id },
  })
  if (!ctx.signal.aborted) return { createdAt }
  await engine.json({ method: 'DELETE', path: `/images/${repo}:${tag}`, signal }).catch(() => {})
  throw abortReason(ctx.signal)
}
