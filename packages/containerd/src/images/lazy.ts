import { lazily } from '@vmkit/core/driver'
import type { ImageAccess } from './access.js'
import type { ContainerdImages } from './images.js'

/** The `images` group; what it needs is loaded with its first call. */
export function lazyImages(access: ImageAccess): ContainerdImages {
  const group = lazily(async () => (await import('./images.js')).containerdImages(access))
  return {
    pull: async (request, ctx) => (await group()).pull(request, ctx),
    list: async (ctx) => (await group()).list(ctx),
    remove: async (reference, ctx) => (await group()).remove(reference, ctx),
    import: async (archive, reference, ctx) => (await group()).import(archive, reference, ctx),
    async *export(reference, ctx) {
      yield* (await group()).export(reference, ctx)
    },
  }
}
