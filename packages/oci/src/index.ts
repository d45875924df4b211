/** OCI images for vmkit's drivers: references, layouts, archives, registries, unpacking, and the portable bundle. */
export { openArchive } from './archive.js'
export { writeArchive } from './archive-write.js'
export {
  BUNDLE_DISK,
  type Bundle,
  type BundleContent,
  type BundleFile,
  type ReadBundleOptions,
  readBundle,
  writeBundle,
} from './bundle.js'
export { type ContentOptions, openContent } from './content.js'
export { digestOf, digestOfStream, isDigest, type Verifier, verified, verifier } from './digest.js'
export { type FromFolderOptions, imageFromFolder } from './from-folder.js'
export { type LayerOptions, layerTar } from './layer.js'
export { openLayout, type WriteOptions, writeLayout } from './layout.js'
export { isImagePath, openImage } from './open.js'
export { formatPlatform, hostPlatform, parsePlatform } from './platform.js'
export { parseReference, type Reference } from './reference.js'
export { isLoopback } from './registry/client.js'
export { type Credentials, findCredentials } from './registry/credentials.js'
export { openRegistry, type RegistryOpenOptions } from './registry/open.js'
export type { RegistryOptions } from './registry/options.js'
export { pushImage } from './registry/push.js'
export type { BlobOptions, ErrorContext, ImageDocument, ImageSource, OpenOptions } from './source.js'
export { type Spooled, spool } from './spool.js'
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
export { type FileRecord, type Unpacked, type UnpackOptions, unpackImage } from './unpack/unpack.js'
