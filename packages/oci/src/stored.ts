/** What an image layout and an archive of one have in common: documents and blobs by path. */
import { brokenContent, splitDigest, verified } from './digest.js'
import { isObject, LONGEST_DOCUMENT, type Resolved, readAll } from './documents.js'
import { badImage } from './errors.js'
import type { Files } from './files.js'
import type { BlobOptions, ErrorContext, ImageSource } from './source.js'
import type { Descriptor } from './types.js'

export interface Stored {
  readonly files: Files
  readonly origin: string
  readonly errors: ErrorContext
  /** Where a blob lies. Default: as the image layout says. */
  locate?(descriptor: Descriptor): string
}

/** A blob, verified. */
async function* readBlob({ files, errors, locate = blobPath }: Stored, descriptor: Descriptor, { offset = 0, signal }: BlobOptions = {}) {
  const path = locate(descriptor)
  const size = await files.size(path)
  const broken = brokenContent(errors)
  if (size === undefined) throw broken(`The image has no ${path}`)
  if (size !== descriptor.size) throw broken(`${descriptor.digest} should have ${descriptor.size} bytes, and has ${size}`)
  const content = files.read(path, { offset, signal })
  if (offset > 0) yield* content
  else yield* verified(content, descriptor, broken)
}

export function blobPath({ digest }: Pick<Descriptor, 'digest'>): string {
  const { algorithm, hex } = splitDigest(digest)
  return `blobs/${algorithm}/${hex}`
}

/** A document, verified. */
export function readDocument(stored: Stored, descriptor: Descriptor, signal?: AbortSignal): Promise<Uint8Array> {
  return readAll(readBlob(stored, descriptor, { signal }), LONGEST_DOCUMENT, stored.errors)
}

/** A JSON file outside the blobs, such as `index.json`; `undefined` when there is none. */
export async function readJson({ files, errors, origin }: Stored, path: string, signal?: AbortSignal): Promise<unknown> {
  if ((await files.size(path)) === undefined) return undefined
  const bytes = await readAll(files.read(path, { signal }), LONGEST_DOCUMENT, errors)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw badImage(`${path} of ${origin} is no JSON`, errors, { cause: error })
  }
}

export async function readJsonObject(stored: Stored, path: string, signal?: AbortSignal): Promise<Record<string, unknown> | undefined> {
  const value = await readJson(stored, path, signal)
  if (value === undefined || isObject(value)) return value
  throw badImage(`${path} of ${stored.origin} is no JSON object`, stored.errors)
}

export function storedSource(stored: Stored, resolved: Resolved, reference: string | undefined): ImageSource {
  const close = () => stored.files.close()
  return {
    origin: stored.origin,
    ...(reference === undefined ? {} : { reference }),
    ...resolved,
    blob(descriptor, options) {
      const document = resolved.documents.find((each) => each.descriptor.digest === descriptor.digest)
      return document ? once(document.bytes.subarray(options?.offset ?? 0)) : readBlob(stored, descriptor, options)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
