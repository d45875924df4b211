import { VMKitError } from '@vmkit/core/driver'
import { digestOf, verifier } from '../digest.js'
import { isIndexType, isManifestType, LONGEST_DOCUMENT, resolveImage } from '../documents.js'
import { throwIfAborted } from '../errors.js'
import { parseReference, type Reference } from '../reference.js'
import type { BlobOptions, ErrorContext, ImageSource, OpenOptions } from '../source.js'
import { once } from '../stored.js'
import { type Descriptor, MEDIA_TYPES } from '../types.js'
import { openRepository, type Repository } from './client.js'
import { findCredentials } from './credentials.js'
import { isCut } from './failures.js'
import type { RegistryOptions } from './options.js'

export type RegistryOpenOptions = RegistryOptions & Pick<OpenOptions, 'platform'>

/**
 * Opens an image of a registry: its documents are read now, its layers when `blob` is iterated. A cut download goes on where
 * it was. The default credentials are those of the Docker config file. `signal` counts for everything that is read later, too.
 * @throws `IMAGE_NOT_FOUND`; `PERMISSION_DENIED` for credentials that are missing or wrong; `BACKEND_UNAVAILABLE` when nobody
 * answers; `BACKEND_ERROR` with the registry's words for the rest. No error holds a secret.
 */
export async function openRegistry(reference: string | Reference, options: RegistryOpenOptions = {}): Promise<ImageSource> {
  const { errors = {}, signal, platform } = options
  throwIfAborted(signal)
  const parsed = typeof reference === 'string' ? parseReference(reference, errors) : reference
  const credentials =
    options.credentials === false ? undefined : (options.credentials ?? (await findCredentials(parsed.registry, { errors })))
  const repository = openRepository(parsed, 'pull', credentials, options)
  try {
    const root = await fetchManifest(repository, parsed.digest ?? parsed.tag ?? 'latest', parsed.digest, signal)
    const fetch = async (descriptor: Descriptor): Promise<Uint8Array> => {
      if (descriptor.digest === root.descriptor.digest) return root.bytes
      if (isManifestType(descriptor.mediaType) || isIndexType(descriptor.mediaType)) {
        return (await fetchManifest(repository, descriptor.digest, descriptor.digest, signal)).bytes
      }
      return fetchDocument(repository, descriptor, signal)
    }
    const resolved = await resolveImage(root.descriptor, fetch, { platform, errors })
    const close = async () => repository.close()
    return {
      origin: parsed.canonical,
      reference: parsed.canonical,
      ...resolved,
      blob(descriptor, blobOptions) {
        const document = resolved.documents.find((each) => each.descriptor.digest === descriptor.digest)
        return document
          ? once(document.bytes.subarray(blobOptions?.offset ?? 0))
          : fetchBlob(repository, descriptor, { signal, ...blobOptions }, options.report)
      },
      close,
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    repository.close()
    throw VMKitError.from(error, errors)
  }
}

const ACCEPT = [MEDIA_TYPES.index, MEDIA_TYPES.manifest, MEDIA_TYPES.dockerList, MEDIA_TYPES.dockerManifest].join(', ')

async function fetchManifest(repository: Repository, name: string, digest: string | undefined, signal: AbortSignal | undefined) {
  const request = {
    path: `manifests/${name}`,
    what: `${repository.name}${digest === undefined ? ':' : '@'}${name}`,
    headers: { accept: ACCEPT },
    signal,
  }
  const { answer, bytes } = await repository.bytes(request, LONGEST_DOCUMENT)
  const fail = mismatch(repository)
  if (bytes.length > LONGEST_DOCUMENT) throw fail(`Its manifest is longer than ${LONGEST_DOCUMENT} bytes`)
  const said = answer.headers['docker-content-digest']
  const expected = digest ?? (typeof said === 'string' ? said : undefined)
  const actual = digestOf(bytes, expected?.split(':')[0] === 'sha512' ? 'sha512' : 'sha256')
  if (expected !== undefined && expected !== actual) throw fail(`The manifest ${expected} has the digest ${actual}`)
  const mediaType = /^[^;\s]*/.exec(answer.headers['content-type'] ?? '')?.[0] ?? ''
  return { descriptor: { mediaType, digest: actual, size: bytes.length }, bytes }
}

function mismatch({ name, errors }: { name: string; errors: ErrorContext }) {
  return (message: string) => new VMKitError('BACKEND_ERROR', `The registry gave something else for ${name}: ${message}`, errors)
}

async function fetchDocument(repository: Repository, descriptor: Descriptor, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const fail = mismatch(repository)
  if (descriptor.size > LONGEST_DOCUMENT) throw fail(`Its config is longer than ${LONGEST_DOCUMENT} bytes`)
  const chunks: Uint8Array[] = []
  for await (const chunk of fetchBlob(repository, descriptor, { signal })) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const REPORT_EVERY = 2 ** 20

async function* fetchBlob(
  repository: Repository,
  { digest, size }: Descriptor,
  { offset = 0, signal, sizeOnly = false }: BlobOptions,
  report?: RegistryOptions['report'],
): AsyncGenerator<Uint8Array> {
  const fail = mismatch(repository)
  const check = offset === 0 && !sizeOnly ? verifier({ digest, size }, fail) : undefined
  let at = offset
  let told = -REPORT_EVERY
  const tell = () => {
    told = at
    report?.({ phase: 'download', item: digest, current: at, total: size, unit: 'bytes' })
  }
  tell()
  for (let failures = 0; at < size; ) {
    const before = at
    let failure: unknown
    try {
      for await (const chunk of blobFrom(repository, digest, at, signal)) {
        // More than there should be is refused at once, not kept.
        if (at + chunk.length > size) throw fail(`${digest} is longer than the ${size} bytes it should have`)
        check?.update(chunk)
        at += chunk.length
        yield chunk
        if (at - told >= REPORT_EVERY) tell()
      }
    } catch (error) {
      if (!isCut(error)) throw repository.unreachable(error)
      failure = error
    }
    // Bytes that came are progress: only attempts in vain count.
    failures = at > before ? 0 : failures + 1
    if (failures > repository.retries) throw repository.unreachable(failure ?? new Error(`${digest} ends after ${at} of ${size} bytes`))
    if (at < size) await repository.pause(failures, signal)
  }
  check?.end()
  tell()
}

async function* blobFrom(
  repository: Repository,
  digest: string,
  start: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const headers: Record<string, string> = start > 0 ? { range: `bytes=${start}-` } : {}
  const answer = await repository.send({ path: `blobs/${digest}`, what: `layer or config ${digest}`, headers, signal })
  // A registry that knows no ranges begins anew.
  let ahead = start > 0 && answer.status !== 206 ? start : 0
  try {
    for await (const chunk of repository.body(answer, signal)) {
      const rest = chunk.subarray(ahead)
      ahead -= chunk.length - rest.length
      if (rest.length > 0) yield rest
    }
  } finally {
    if (!answer.body.readableEnded) answer.body.destroy()
  }
}
