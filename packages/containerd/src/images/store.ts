/** Images of the daemon: by name, with what a machine needs of one. */
import { type CallContext, invalidConfig, VMKitError } from '@vmkit/core/driver'
import { type Descriptor, type ImageConfig, type ImageSource, type Manifest, openContent, parseReference, type Reference } from '@vmkit/oci'
import type { Containerd } from '../grpc/connection.js'
import { hasCode } from '../grpc/errors.js'
import { readBlob } from './content.js'
import { descriptorOf } from './descriptor.js'

/** The name that containerd knows an image by. @throws `INVALID_CONFIG` */
export function imageName(reference: string, driver: string): string {
  return readReference(reference, driver).canonical
}

/** As Docker takes `UPPER/case` for a host called UPPER, so does the parser; whoever writes that means a repository. @throws `INVALID_CONFIG` */
export function readReference(reference: string, driver: string): Reference {
  const parsed = parseReference(reference, { driver })
  const { registry } = parsed
  if (!/[.:]/.test(registry) && registry !== registry.toLowerCase()) {
    throw invalidConfig('config.image', 'a reference in lower case', reference, { driver })
  }
  return parsed
}

/** An image of the daemon as a source: to run, to export, to send. @throws `IMAGE_NOT_FOUND`, also when a part of it is missing */
export async function openImage(
  containerd: Containerd,
  name: string,
  { platform, signal }: { platform?: string; signal?: AbortSignal } = {},
): Promise<ImageSource> {
  const { driver } = containerd.options
  try {
    const { image } = await containerd.images.get({ name }, { signal })
    const target = image?.target
    if (target === undefined) throw notFound(name, driver)
    return await openStored(containerd, name, descriptorOf(target), { platform, signal })
  } catch (error) {
    throw hasCode(error, 'NOT_FOUND') ? notFound(name, driver, error) : error
  }
}

/** An image by its outermost document, named or not. @throws `NOT_FOUND` when a part of it is missing */
export function openStored(
  containerd: Containerd,
  origin: string,
  root: Descriptor,
  { platform, signal }: { platform?: string; signal?: AbortSignal } = {},
): Promise<ImageSource> {
  const read = ({ digest }: Descriptor, options: { signal?: AbortSignal; offset?: number }) => readBlob(containerd, digest, options)
  return openContent({ origin, root, read, platform, signal, errors: { driver: containerd.options.driver } })
}

/** Gives an image its name, or the name another image. */
export async function nameImage(
  containerd: Containerd,
  name: string,
  target: Descriptor,
  labels: Record<string, string>,
  { signal, lease }: { signal: AbortSignal; lease?: string },
): Promise<void> {
  const { mediaType, digest, size } = target
  const image = { name, labels, target: { mediaType, digest, size: BigInt(size) } }
  try {
    await containerd.images.create({ image }, { signal, lease })
  } catch (error) {
    if (!hasCode(error, 'ALREADY_EXISTS')) throw error
    await containerd.images.update({ image, updateMask: { paths: ['target', 'labels'] } }, { signal, lease })
  }
}

/** Bytes in the content store. */
export function imageSize({ config, layers }: Manifest): number {
  return layers.reduce((sum, { size }) => sum + size, config.size)
}

export function createdAt({ created }: ImageConfig): number | null {
  const time = Date.parse(created ?? '')
  return Number.isNaN(time) ? null : time
}

export function notFound(name: string, driver: string, cause?: unknown): VMKitError {
  return new VMKitError('IMAGE_NOT_FOUND', `containerd has no image ${name}`, { driver, hint: 'Pull or import it first', cause })
}

export function reportBytes(ctx: CallContext, item: string, total: number): (bytes: number) => void {
  return (current) => ctx.report({ phase: 'download', item, current, total, unit: 'bytes' })
}
