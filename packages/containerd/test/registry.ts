/** A registry of one test: it serves what it is given, and tells who asked for what. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { type Descriptor, digestOf, MEDIA_TYPES } from '@vmkit/oci'

export interface Asked {
  /** `containerd/2.1.9`, `vmkit`. */
  agent: string
  path: string
  authorization: string | undefined
  range: string | undefined
}

export interface TestRegistry extends AsyncDisposable {
  /** As the registry of a reference. */
  host: string
  seen: Asked[]
  /** Who asked for a blob. */
  agentsOf(digest: string): string[]
}

export interface Served {
  blobs: ReadonlyMap<string, Uint8Array>
  /** What the tag `1` of every repository is. */
  root: Descriptor
  /** Of this host. Default 127.0.0.1. */
  address?: string
  /** Tokens for this login, as most registries want them. */
  login?: { username: string; password: string; token?: string }
  /** Answers by itself where it returns true. */
  answer?(asked: Asked, reply: ServerResponse): boolean
}

const TOKEN = 'a-token-of-this-test'

export async function testRegistry({ blobs, root, address = '127.0.0.1', login, answer }: Served): Promise<TestRegistry> {
  const seen: Asked[] = []
  let host = ''
  const server = createServer(async (call, reply) => {
    const asked = askedOf(call)
    seen.push(asked)
    if (answer?.(asked, reply)) return
    if (asked.path.startsWith('/token')) {
      const isKnown =
        login &&
        (call.method === 'POST' ? (await text(call)).includes(`refresh_token=${login.token}`) : asked.authorization === basic(login))
      return isKnown ? json(reply, 200, { token: TOKEN, access_token: TOKEN }) : json(reply, 401, {})
    }
    if (login && asked.authorization !== `Bearer ${TOKEN}`) {
      reply.setHeader('www-authenticate', `Bearer realm="http://${host}/token",service="test"`)
      return json(reply, 401, {})
    }
    const [, kind, name = ''] = /\/(blobs|manifests)\/(.+)$/.exec(asked.path) ?? []
    const digest = name === '1' ? root.digest : name
    const bytes = blobs.get(digest)
    if (kind === undefined) return json(reply, 200, {})
    if (bytes === undefined) return json(reply, 404, { errors: [{ code: 'MANIFEST_UNKNOWN', message: 'not here' }] })
    const type = kind === 'manifests' ? mediaTypeOf(bytes) : 'application/octet-stream'
    const [, from] = /^bytes=(\d+)-/.exec(asked.range ?? '') ?? []
    const rest = bytes.subarray(Number(from ?? 0))
    reply.writeHead(from === undefined ? 200 : 206, {
      'content-type': type,
      'content-length': rest.length,
      'docker-content-digest': digest,
      ...(from === undefined ? {} : { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    })
    reply.end(call.method === 'HEAD' ? undefined : rest)
  })
  await new Promise<void>((resolve) => server.listen(0, address, resolve))
  host = `${address}:${(server.address() as AddressInfo).port}`
  return {
    host,
    seen,
    agentsOf: (digest) => seen.filter(({ path }) => path.endsWith(`/blobs/${digest}`)).map(({ agent }) => agent),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const askedOf = ({ headers, url = '' }: IncomingMessage): Asked => ({
  agent: headers['user-agent'] ?? '',
  path: url,
  authorization: headers.authorization,
  range: headers.range,
})

const basic = ({ username, password }: { username: string; password: string }) =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`

function json(reply: ServerResponse, status: number, value: unknown): void {
  reply.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

function mediaTypeOf(bytes: Uint8Array): string {
  return (JSON.parse(Buffer.from(bytes).toString('utf8')) as { mediaType: string }).mediaType
}

/** Several images, each of a platform, under one index. */
export function indexOf(images: readonly { blobs: ReadonlyMap<string, Uint8Array>; manifest: Descriptor; architecture: string }[]): Served {
  const manifests = images.map(({ manifest, architecture }) => ({ ...manifest, platform: { os: 'linux', architecture } }))
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests }))
  const root = { mediaType: MEDIA_TYPES.index, digest: digestOf(bytes), size: bytes.length }
  return { root, blobs: new Map([...images.flatMap(({ blobs }) => [...blobs]), [root.digest, bytes]]) }
}
