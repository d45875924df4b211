import type { VMKitErrorDetails } from '@vmkit/core/driver'
import type { Descriptor, ImageConfig, Manifest } from './types.js'

/** One image, wherever it lies. Nothing of a layer is read before `blob` is iterated. */
export interface ImageSource extends AsyncDisposable {
  /** Where it comes from, for messages: a path, or the reference. */
  readonly origin: string
  /** The name the image has there, canonical, such as `docker.io/library/nginx:1.27`; a layout may not tell any. */
  readonly reference?: string
  /** Of the manifest that was chosen. */
  readonly descriptor: Descriptor
  readonly manifest: Manifest
  readonly config: ImageConfig
  /** Every document on the way, byte for byte and verified: indexes from the outermost, then the manifest, then the config. */
  readonly documents: readonly ImageDocument[]
  /**
   * The content, of the exact size and digest of the descriptor: a mismatch is thrown at the latest after the last chunk, so
   * do not use what came before the end. With `offset` (bytes) only the size can be checked.
   * @throws `INVALID_CONFIG` for broken content of a layout or archive, `BACKEND_ERROR` for that of a registry
   */
  blob(descriptor: Descriptor, options?: BlobOptions): AsyncIterable<Uint8Array>
  /** Frees connections and temporary files. */
  close(): Promise<void>
}

export interface ImageDocument {
  readonly descriptor: Descriptor
  readonly bytes: Uint8Array
}

export interface BlobOptions {
  signal?: AbortSignal
  /** Bytes to leave out at the beginning. */
  offset?: number
  /** Whoever takes the content verifies the digest, as containerd does: a source may then check the size alone. */
  sizeOnly?: boolean
}

/** Added to each error of a call: the driver, the operation, the field of the config. */
export type ErrorContext = Pick<VMKitErrorDetails, 'driver' | 'operation' | 'field'>

export interface OpenOptions {
  /** Such as `linux/arm64/v8`. Default: Linux on the architecture of this host. */
  platform?: string
  /** Which image of a layout or archive that has several: a tag or a whole name. */
  reference?: string
  signal?: AbortSignal
  errors?: ErrorContext
}
