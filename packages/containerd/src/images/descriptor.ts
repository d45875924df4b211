/** Apart from the rest, which loads `@vmkit/oci`. */
import type { Descriptor } from '@vmkit/oci'

/** Label of images that are parts of a machine, such as its snapshots: no list shows them. */
export const INTERNAL_IMAGE_LABEL = 'io.vmkit.internal'

/** As containerd's messages have it, where sizes are bigints. */
export function descriptorOf({ mediaType, digest, size }: { mediaType: string; digest: string; size: bigint }): Descriptor {
  return { mediaType, digest, size: Number(size) }
}
