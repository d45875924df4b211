import type { CallContext, ImageInfo, PullRequest } from '@vmkit/core/driver'
import { openRegistry } from '@vmkit/oci'
import type { ImageAccess } from './access.js'
import { type Placed, placeImage } from './place.js'
import { readReference } from './store.js'

type Credentials = NonNullable<PullRequest['auth']>

/** From its registry into the daemon, by our own client: see docs/decisions for why not by containerd's Transfer service. */
export async function pullImage(access: ImageAccess, request: Omit<PullRequest, 'policy'>, ctx: CallContext): Promise<Placed> {
  const { driver, options } = access
  const reference = readReference(request.reference, driver)
  const { registry } = reference
  await using source = await openRegistry(reference, {
    platform: request.platform,
    credentials: request.auth ?? storedCredentials(options.registries?.[registry]),
    ...(options.insecureRegistries?.includes(registry) ? { plainHttp: true } : {}),
    signal: ctx.signal,
    errors: { driver, operation: 'pull' },
  })
  return placeImage(access, source, { name: reference.canonical }, ctx)
}

export function infoOf({ reference, id, sizeBytes, createdAt }: Placed): ImageInfo {
  return { reference, id, sizeBytes, createdAt }
}

function storedCredentials(stored: { username?: string; password?: string; identityToken?: string } | undefined): Credentials | undefined {
  if (stored?.identityToken !== undefined) return { token: stored.identityToken }
  return stored?.username === undefined ? undefined : { username: stored.username, password: stored.password ?? '' }
}
