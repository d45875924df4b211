import { type CallContext, type ImageInfo, type PullRequest, VMKitError } from '@vmkit/core/driver'
import { type Credentials, findCredentials, isLoopback, openRegistry } from '@vmkit/oci'
import type { ContainerdRegistryAuth } from '../options.js'
import type { ImageAccess } from './access.js'
import { type Placed, placeImage } from './place.js'
import { readReference } from './store.js'
import { explain, pullerOf } from './transfer/choose.js'

/**
 * From its registry into the daemon. Our own client reads the documents, so that what can be wrong with a reference, a login or a
 * platform is told alike everywhere; layers are fetched by containerd's Transfer service where it can (docs/decisions/0401), else by us.
 */
export async function pullImage(access: ImageAccess, request: Omit<PullRequest, 'policy'>, ctx: CallContext): Promise<Placed> {
  const { driver, options } = access
  const { signal } = ctx
  const reference = readReference(request.reference, driver)
  const { registry } = reference
  const errors = { driver, operation: 'pull' }
  const credentials = request.auth ?? storedCredentials(options.registries?.[registry]) ?? (await findCredentials(registry, { errors }))
  const plainHttp = options.insecureRegistries?.includes(registry) ?? false
  const puller = await pullerOf(access, ctx)
  ctx.report({ phase: 'pull', message: explain(puller) })
  await using source = await openRegistry(reference, {
    platform: request.platform,
    credentials: credentials ?? false,
    ...(plainHttp ? { plainHttp } : {}),
    signal,
    errors,
  })
  const before = async (lease: string) => {
    const { fetchByTransfer } = await import('./transfer/fetch.js')
    const snapshotter = await access.snapshotter(ctx)
    const fetch = {
      reference,
      source,
      credentials,
      plainHttp: plainHttp || isLoopback(registry),
      snapshotter,
      lease,
    }
    try {
      await fetchByTransfer(await access.containerd(), fetch, ctx)
    } catch (error) {
      if (signal.aborted || options.pullBy === 'transfer') throw error
      // The daemon may not reach what we reach, or not trust it. What it has fetched is gone on with, and who fails then is asked by us.
      const { message } = VMKitError.from(error)
      ctx.report({ phase: 'pull', message: `by our own client: the Transfer service broke off: ${message}` })
    }
  }
  return placeImage(access, source, { name: reference.canonical, ...(puller.by === 'transfer' ? { before } : {}) }, ctx)
}

export function infoOf({ reference, id, sizeBytes, createdAt }: Placed): ImageInfo {
  return { reference, id, sizeBytes, createdAt }
}

function storedCredentials(stored: ContainerdRegistryAuth | undefined): Credentials | undefined {
  if (stored?.identityToken !== undefined) return { token: stored.identityToken }
  return stored?.username === undefined ? undefined : { username: stored.username, password: stored.password ?? '' }
}
