import { type DriverImages, lazily } from '@vmkit/core/driver'
import type { ImageAccess } from './access.js'

/** The `images` group; what it needs is loaded with its first call. */
export function lazyImages(access: ImageAccess): DriverImages {
  const group = lazily(async () => (await import('./images.js')).containerdImages(access))
  return {
    pull: async (request, ctx) => (await group()).pull(request, ctx),
    list: async (ctx) => (await group()).list(ctx),
    remove: async (reference, ctx) => (await group()).remove(reference, ctx),
    import: async (archive, reference, ctx) => (await group()).import(archive, reference, ctx),
  }
}
