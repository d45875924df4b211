import { VMKitError } from '@vmkit/core/driver'
import { imageBlobs } from '../layout.js'
import { parseReference, type Reference } from '../reference.js'
import type { ImageSource } from '../source.js'
import type { Descriptor } from '../types.js'
import { openRepository, type Repository } from './client.js'
import { findCredentials } from './credentials.js'
import { discard } from './http.js'
import type { RegistryOptions } from './options.js'

/** Puts the image (its manifest for one platform) into a registry; blobs that are there already are not sent. Errors as `openRegistry`. */
export async function pushImage(source: ImageSource, reference: string | Reference, options: RegistryOptions = {}): Promise<void> {
  const { errors = {}, signal } = options
  const parsed = typeof reference === 'string' ? parseReference(reference, errors) : reference
  const credentials =
    options.credentials === false ? undefined : (options.credentials ?? (await findCredentials(parsed.registry, { errors })))
  const repository = openRepository(parsed, 'pull,push', credentials, options)
  try {
    for (const { descriptor, content } of imageBlobs(source, signal)) {
      if (descriptor.digest !== source.descriptor.digest) await pushBlob(repository, descriptor, content, signal)
    }
    const manifest = source.documents.at(-2)
    const name = parsed.tag ?? source.descriptor.digest
    const answer = await repository.send({
      method: 'PUT',
      path: `manifests/${name}`,
      what: `manifest ${name}`,
      headers: { 'content-type': source.descriptor.mediaType },
      body: Buffer.from(manifest?.bytes ?? []).toString('utf8'),
      signal,
    })
    await discard(answer)
  } catch (error) {
    throw VMKitError.from(error, errors)
  } finally {
    repository.close()
  }
}

async function pushBlob(
  repository: Repository,
  { digest, size }: Descriptor,
  content: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<void> {
  const found = await repository.send({ method: 'HEAD', path: `blobs/${digest}`, what: `blob ${digest}`, accept: [404], signal })
  await discard(found)
  if (found.status !== 404) return
  const begun = await repository.send({
    method: 'POST',
    path: 'blobs/uploads/',
    what: 'an upload',
    headers: { 'content-length': '0' },
    signal,
  })
  await discard(begun)
  const { location } = begun.headers
  if (location === undefined) throw new VMKitError('BACKEND_ERROR', `The registry of ${repository.name} names no address for an upload`)
  const path = `${location}${location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`
  const headers = { 'content-type': 'application/octet-stream', 'content-length': String(size) }
  await discard(await repository.send({ method: 'PUT', path, what: `blob ${digest}`, headers, body: content, signal }))
}
