/** The `images` group of the driver. */
import { type CallContext, type DriverImages, type ImageInfo, VMKitError } from '@vmkit/core/driver'
import { openArchive, parseReference, writeArchive } from '@vmkit/oci'
import { hasCode } from '../grpc/errors.js'
import { listContainers } from '../grpc/list-containers.js'
import type { ImageAccess } from './access.js'
import { INTERNAL_IMAGE_LABEL } from './descriptor.js'
import { placeImage } from './place.js'
import { infoOf, pullImage } from './pull.js'
import { createdAt, imageName, imageSize, notFound, openImage } from './store.js'

export type ContainerdImages = Required<Omit<DriverImages, 'build'>>

export function containerdImages(access: ImageAccess): ContainerdImages {
  const { driver } = access
  return {
    async pull(request, ctx) {
      if (request.policy === 'missing') {
        const present = await imageInfo(access, imageName(request.reference, driver), ctx, request.platform)
        if (present) return present
      }
      return infoOf(await pullImage(access, request, ctx))
    },
    async list(ctx) {
      const containerd = await access.containerd()
      const { images } = await containerd.images.list({}, { signal: ctx.signal })
      const shown = images.filter(({ labels }) => labels[INTERNAL_IMAGE_LABEL] === undefined)
      return Promise.all(
        shown.map(async ({ name, target }) => (await imageInfo(access, name, ctx)) ?? bareInfo(name, target?.digest ?? '')),
      )
    },
    async remove(reference, ctx) {
      const containerd = await access.containerd()
      const name = imageName(reference, driver)
      const containers = await listContainers(containerd, `image==${JSON.stringify(name)}`, ctx)
      if (containers.length > 0) {
        throw new VMKitError('CONFLICT', `The image ${name} is used by ${containers.map(({ id }) => id).join(', ')}`, {
          driver,
          operation: 'removeImage',
          hint: 'Delete these machines first',
        })
      }
      try {
        await containerd.images.delete({ name, sync: true }, { signal: ctx.signal })
      } catch (error) {
        throw hasCode(error, 'NOT_FOUND') ? notFound(name, driver, error) : error
      }
    },
    async import(archive, reference, ctx) {
      const errors = { driver, operation: 'import', field: 'archive' }
      const wanted = reference === undefined ? undefined : imageName(reference, driver)
      await using source = await openArchive(archive, { signal: ctx.signal, errors })
      const name = wanted ?? source.reference
      if (name === undefined) {
        throw new VMKitError('INVALID_CONFIG', 'The archive does not name its image', { ...errors, hint: 'Give a reference for it' })
      }
      return infoOf(await placeImage(access, source, { name }, ctx))
    },
    async *export(reference, ctx) {
      const containerd = await access.containerd()
      const name = imageName(reference, driver)
      await using source = await openImage(containerd, name, { signal: ctx.signal })
      yield* writeArchive(source, { reference: name, signal: ctx.signal })
    },
  }
}

/** `undefined` when it is not there as a whole. */
async function imageInfo(access: ImageAccess, name: string, { signal }: CallContext, platform?: string): Promise<ImageInfo | undefined> {
  const containerd = await access.containerd()
  try {
    await using source = await openImage(containerd, name, { signal, platform })
    const id = (source.documents[0]?.descriptor ?? source.descriptor).digest
    return { reference: familiar(name), id, sizeBytes: imageSize(source.manifest), createdAt: createdAt(source.config) }
  } catch (error) {
    // One of another platform, or one that is no container image, is there and cannot be measured.
    if (hasCode(error, 'IMAGE_NOT_FOUND', 'INVALID_CONFIG')) return undefined
    throw error
  }
}

const bareInfo = (name: string, id: string): ImageInfo => ({ reference: familiar(name), id, sizeBytes: null, createdAt: null })

/** Others may have given an image a name that is no reference. */
function familiar(name: string): string {
  try {
    return parseReference(name).familiar
  } catch {
    return name
  }
}
