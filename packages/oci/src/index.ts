/** OCI images for vmkit's drivers: references, layouts, archives, registries, unpacking, and the portable bundle. */
export { digestOf, digestOfStream, isDigest, type Verifier, verified, verifier } from './digest.js'
export { openLayout, type WriteOptions, writeLayout } from './layout.js'
export { formatPlatform, hostPlatform, parsePlatform } from './platform.js'
export { parseReference, type Reference } from './reference.js'
export type { BlobOptions, ErrorContext, ImageDocument, ImageSource, OpenOptions } from './source.js'
export {
  ANNOTATIONS,
  type ContainerConfig,
  type Descriptor,
  type ImageConfig,
  type ImageIndex,
  type Manifest,
  MEDIA_TYPES,
  type Platform,
} from './types.js'
