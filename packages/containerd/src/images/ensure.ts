import { stat } from 'node:fs/promises'
import { type CallContext, type MachineConfig, VMKitError } from '@vmkit/core/driver'
import { type ImageConfig, type ImageSource, isImagePath, openImage as openAny, parsePlatform } from '@vmkit/oci'
import type { Containerd } from '../grpc/connection.js'
import { hasCode } from '../grpc/errors.js'
import type { ImageAccess } from './access.js'
import { labelContent } from './content.js'
import { baseLabels, snapshotLabel } from './gc-labels.js'
import { placeImage } from './place.js'
import { pullImage } from './pull.js'
import { imageName, notFound, openImage } from './store.js'
import { unpackImage } from './unpack.js'

/** What a machine is made of. */
export interface MachineImage {
  /** As containerd knows it: for the container's `image`. */
  name: string
  config: ImageConfig
  snapshotter: string
  /** The snapshot below the machine's own; '' for an image without layers. */
  parent: string
  /** For the container, so that what it stands on stays. */
  labels: Record<string, string>
}

/**
 * The image of a config, pulled, imported or copied from a folder, and unpacked. The lease holds its snapshots until the machine does.
 * @throws `IMAGE_NOT_FOUND`, `INVALID_CONFIG` for a reference or archive that is none
 */
export async function ensureImage(
  access: ImageAccess,
  config: MachineConfig,
  lease: string,
  ctx: CallContext,
  platform?: string,
): Promise<MachineImage> {
  try {
    return await imageOf(access, config, lease, ctx, platform)
  } catch (error) {
    throw hasCode(error, 'IMAGE_NOT_FOUND', 'INVALID_CONFIG') ? error.with({ field: 'config.image' }) : error
  }
}

async function imageOf(
  access: ImageAccess,
  config: MachineConfig,
  lease: string,
  ctx: CallContext,
  platform: string | undefined,
): Promise<MachineImage> {
  const { driver } = access
  const { image, pull, rootfs } = config
  if (rootfs !== undefined) return (await import('./folder.js')).folderImage(access, rootfs, lease, ctx)
  if (image === undefined)
    throw new VMKitError('INVALID_CONFIG', 'A container needs an image or a rootfs', { driver, field: 'config.image' })
  const containerd = await access.containerd()
  const path = isPath(image)
  const name = path ? await importFile(access, image, ctx, platform) : imageName(image, driver)
  if (!path && pull === 'always') await pullImage(access, { reference: image, platform }, ctx)
  try {
    return await unpacked(access, containerd, name, { platform, lease }, ctx)
  } catch (error) {
    if (path || pull !== 'missing' || !hasCode(error, 'IMAGE_NOT_FOUND')) throw error
  }
  await pullImage(access, { reference: image, platform }, ctx)
  return unpacked(access, containerd, name, { platform, lease }, ctx)
}

/** What was last found behind a name, and of which outermost document. */
interface Remembered {
  digest: string
  image: MachineImage
}

const remembered = new WeakMap<Containerd, Map<string, Remembered>>()
const MOST_REMEMBERED = 64

/** An image that is believed to be there, and unpacked. */
export interface LikelyImage {
  image: MachineImage
  /** One call: whether the daemon still has it under that name. Its snapshot may be gone, which who builds on it is told. */
  isStill(): Promise<boolean>
}

/** That of a config of which this program has made a machine before: then one call, beside others, does for a dozen. */
export async function likelyImage(access: ImageAccess, config: MachineConfig, { signal }: CallContext): Promise<LikelyImage | undefined> {
  const { image, pull, rootfs } = config
  if (image === undefined || rootfs !== undefined || pull === 'always' || isPath(image)) return undefined
  const containerd = await access.containerd()
  const name = imageName(image, access.driver)
  const known = remembered.get(containerd)?.get(name)
  return (
    known && {
      image: known.image,
      isStill: () =>
        containerd.images.get({ name }, { signal }).then(
          (found) => found.image?.target?.digest === known.digest,
          (error: unknown) => {
            if (hasCode(error, 'NOT_FOUND')) return false
            throw error
          },
        ),
    }
  )
}

function remember(containerd: Containerd, digest: string, image: MachineImage): void {
  const known = remembered.get(containerd) ?? new Map<string, Remembered>()
  remembered.set(containerd, known.set(image.name, { digest, image }))
  const [oldest] = known.keys()
  if (known.size > MOST_REMEMBERED && oldest !== undefined) known.delete(oldest)
}

async function unpacked(
  access: ImageAccess,
  containerd: Containerd,
  name: string,
  { platform, lease }: { platform: string | undefined; lease: string },
  ctx: CallContext,
): Promise<MachineImage> {
  await using source = await openImage(containerd, name, { platform, signal: ctx.signal })
  requirePlatform(source, name, platform, access.driver)
  const image = await unpackSource(access, source, { name, isNamed: true }, lease, ctx)
  if (platform === undefined) remember(containerd, (source.documents[0]?.descriptor ?? source.descriptor).digest, image)
  return image
}

/** An index has a choice of platforms, and is asked for one; a manifest alone is of the one that its config tells. */
function requirePlatform({ config }: ImageSource, name: string, platform: string | undefined, driver: string): void {
  if (platform === undefined) return
  const { os, architecture } = parsePlatform(platform)
  if (config.os === os && config.architecture === architecture) return
  throw new VMKitError('IMAGE_NOT_FOUND', `The image ${name} is of ${config.os}/${config.architecture}, not of ${platform}`, { driver })
}

/**
 * Snapshots of an image whose content is in the daemon. `name`: what the container says it is of; `isNamed`: whether the image has that
 * name, or is only held by those who stand on it.
 */
export async function unpackSource(
  access: ImageAccess,
  source: ImageSource,
  { name, isNamed }: { name: string; isNamed: boolean },
  lease: string,
  ctx: CallContext,
): Promise<MachineImage> {
  const containerd = await access.containerd()
  const snapshotter = await access.snapshotter(ctx)
  const { config, manifest, descriptor } = source
  try {
    // Its name may be taken away meanwhile: what the machine stands on stays whole until the machine holds it.
    await containerd.leases.addResource({ id: lease, resource: { id: descriptor.digest, type: 'content' } }, { signal: ctx.signal })
    const parent = await unpackImage(containerd, { config, manifest, snapshotter, lease }, ctx)
    await labelContent(containerd, manifest.config.digest, snapshotLabel(config, snapshotter), ctx.signal)
    return { name, config, snapshotter, parent, labels: baseLabels(descriptor.digest, isNamed) }
  } catch (error) {
    // Its name is there, and a part of it is not.
    throw hasCode(error, 'NOT_FOUND') ? notFound(name, access.driver, error) : error
  }
}

const isPath = (image: string) => isImagePath(image) || /^(oci|oci-archive|docker-archive):/.test(image)

/** An archive or layout on this host. One without a name of its own gets one by its content. */
async function importFile(access: ImageAccess, path: string, ctx: CallContext, platform?: string): Promise<string> {
  const { driver } = access
  if (isImagePath(path) && (await stat(path).catch(() => undefined)) === undefined) {
    throw new VMKitError('INVALID_CONFIG', `There is no image at ${path}`, { driver, field: 'config.image' })
  }
  await using source = await openAny(path, { platform, signal: ctx.signal, errors: { driver, field: 'config.image' } })
  const name = source.reference ?? imageName(`localhost/vmkit/import:${source.descriptor.digest.replace(':', '-')}`, driver)
  await placeImage(access, source, { name }, ctx)
  return name
}
