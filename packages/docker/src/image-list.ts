import type { Engine } from './engine.js'
import type { ImageListEntry } from './wire.js'

const MOST_TRIES = 10
/** Podman (4.3), of an image that comes or goes while it lists all: the whole list fails. */
const IN_THE_MIDDLE = /image not known|layer not known|locating item named "manifest"/i

/** The images that have these labels or references, or all. One that is broken, and fails on its own each time, is told. */
export async function listImages(
  engine: Engine,
  { filters, signal }: { filters?: Record<string, string[]>; signal?: AbortSignal },
): Promise<ImageListEntry[]> {
  const query = filters ? { filters: JSON.stringify(filters) } : undefined
  for (let tries = 1; ; tries += 1) {
    try {
      return await engine.json<ImageListEntry[]>({ method: 'GET', path: '/images/json', query, signal })
    } catch (error) {
      if (!engine.isPodman || tries === MOST_TRIES || !IN_THE_MIDDLE.test((error as Error).message)) throw error
    }
  }
}
