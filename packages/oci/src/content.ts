import { brokenContent, verified } from './digest.js'
import { LONGEST_DOCUMENT, readAll, resolveImage } from './documents.js'
import type { BlobOptions, ImageSource, OpenOptions } from './source.js'
import { once } from './stored.js'
import type { Descriptor } from './types.js'

export interface ContentOptions extends Omit<OpenOptions, 'reference'> {
  /** For messages. */
  origin: string
  /** Its name, canonical. */
  reference?: string
  /** Of the outermost document: an index or a manifest. */
  root: Descriptor
  /** The raw content of a blob or document, from `offset` on; it is verified by this package. */
  read(descriptor: Descriptor, options: BlobOptions): AsyncIterable<Uint8Array>
  close?(): Promise<void>
}

/** An image of any store of content by digest, such as containerd's. Errors as those of `openLayout`. */
export async function openContent(options: ContentOptions): Promise<ImageSource> {
  const { origin, reference, root, read, platform, signal, errors = {}, close = async () => {} } = options
  const blob = (descriptor: Descriptor, { offset = 0, signal: blobSignal }: BlobOptions = {}) => {
    const content = read(descriptor, { offset, signal: blobSignal })
    return offset > 0 ? content : verified(content, descriptor, brokenContent(errors))
  }
  const fetch = (descriptor: Descriptor) => readAll(blob(descriptor, { signal }), LONGEST_DOCUMENT, errors)
  const resolved = await resolveImage(root, fetch, { platform, errors })
  return {
    origin,
    ...(reference === undefined ? {} : { reference }),
    ...resolved,
    blob(descriptor, blobOptions) {
      const document = resolved.documents.find((each) => each.descriptor.digest === descriptor.digest)
      return document ? once(document.bytes.subarray(blobOptions?.offset ?? 0)) : blob(descriptor, blobOptions)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
