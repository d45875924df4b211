import type { CallContext } from '@vmkit/core/driver'
import { imageFromFolder } from '@vmkit/oci'
import type { ImageAccess } from './access.js'
import { type MachineImage, unpackSource } from './ensure.js'
import { writeContent } from './place.js'

/**
 * A copy of a folder as an image without a name, held by the machines that stand on it: a second machine of the same content stands on
 * the same snapshot. @throws `INVALID_CONFIG` naming `config.rootfs` for what is no folder, or changes meanwhile
 */
export async function folderImage(access: ImageAccess, folder: string, lease: string, ctx: CallContext): Promise<MachineImage> {
  const containerd = await access.containerd()
  const errors = { driver: access.driver, field: 'config.rootfs' }
  await using source = await imageFromFolder(folder, { signal: ctx.signal, errors })
  await writeContent(containerd, source, undefined, lease, ctx)
  return unpackSource(access, source, { name: '', isNamed: false }, lease, ctx)
}
