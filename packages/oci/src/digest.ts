import type { Hash } from 'node:crypto'
import { VMKitError } from '@vmkit/core/driver'
import { createHash } from './crypto.js'
import { badImage } from './errors.js'
import type { ErrorContext } from './source.js'
import type { Descriptor } from './types.js'

const LENGTHS: Readonly<Record<string, number>> = { sha256: 64, sha512: 128 }

export function isDigest(text: unknown): text is string {
  if (typeof text !== 'string') return false
  const [algorithm = '', hex = ''] = text.split(':')
  return LENGTHS[algorithm] === hex.length && /^[a-f0-9]+$/.test(hex) && text.length === algorithm.length + 1 + hex.length
}

/** The algorithm and the hex digits: the folder and file of a blob in a layout. @throws `INVALID_CONFIG` */
export function splitDigest(digest: string): { algorithm: string; hex: string } {
  if (!isDigest(digest)) throw badImage(`The digest ${JSON.stringify(digest)} is neither sha256 nor sha512 in lower case`)
  const [algorithm = '', hex = ''] = digest.split(':')
  return { algorithm, hex }
}

export function digestOf(bytes: Uint8Array | string, algorithm = 'sha256'): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}

/** Reads to the end. */
export async function digestOfStream(content: AsyncIterable<Uint8Array>): Promise<{ digest: string; size: number }> {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of content) {
    size += chunk.length
    hash.update(chunk)
  }
  return { digest: `sha256:${hash.digest('hex')}`, size }
}

export interface Verifier {
  /** @throws when there is more than there should be */
  update(chunk: Uint8Array): void
  /** @throws when something is missing, or the digest is another */
  end(): void
}

/** Compares what passes with digest and size (bytes; absent: any). `fail` makes the error; default `INVALID_CONFIG`. */
export function verifier(
  { digest, size }: { digest: string; size?: number },
  fail: (message: string) => VMKitError = (message) => badImage(message),
): Verifier {
  const hash: Hash = createHash(splitDigest(digest).algorithm)
  let seen = 0
  return {
    update(chunk) {
      seen += chunk.length
      if (size !== undefined && seen > size) throw fail(`${digest} is longer than the ${size} bytes it should have`)
      hash.update(chunk)
    },
    end() {
      if (size !== undefined && seen < size) throw fail(`${digest} ends after ${seen} of ${size} bytes`)
      const actual = `${digest.split(':')[0]}:${hash.digest('hex')}`
      if (actual !== digest) throw fail(`The content of ${digest} has the digest ${actual}`)
    },
  }
}

/** The same chunks; throws after the last one at the latest when digest or size differ. */
export async function* verified(
  content: AsyncIterable<Uint8Array>,
  descriptor: Pick<Descriptor, 'digest'> & { size?: number },
  fail?: (message: string) => VMKitError,
): AsyncGenerator<Uint8Array> {
  const check = verifier(descriptor, fail)
  for await (const chunk of content) {
    check.update(chunk)
    yield chunk
  }
  check.end()
}

export function brokenContent(context: ErrorContext, code: 'INVALID_CONFIG' | 'BACKEND_ERROR' = 'INVALID_CONFIG') {
  return (message: string): VMKitError => (code === 'INVALID_CONFIG' ? badImage(message, context) : new VMKitError(code, message, context))
}
