/** Real registries on loopback: pulls, credentials from every place, cut connections, and what a registry may answer. */
import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Progress } from '@vmkit/core'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { digestOf, type ImageSource, layerTar, openRegistry, pushImage, type RegistryOpenOptions } from '../src/index.js'
import { answeringProxy, closed, cuttingProxy, hasRegistries, open, password, username, why } from './registries.js'
import { collect, file, makeImage, openMade, tarOf } from './support.js'

const name = `vmkit-test/oci-${randomBytes(4).toString('hex')}:1`
const LAYER = 3_000_000
let image: ImageSource
let folder: string
const before = { config: process.env.DOCKER_CONFIG, path: process.env.PATH }

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vmkit-oci-test-'))
  process.env.DOCKER_CONFIG = folder
  const tars = await Promise.all([LAYER, 10, 0].map((size, at) => tarOf(file(`f${at}`, randomBytes(size)))))
  image = await openMade(makeImage(tars, 'gzip', { architecture: 'amd64' }), 2 ** 16)
  if (!hasRegistries) return
  await pushImage(image, `${open}/${name}`)
  await pushImage(image, `${closed}/${name}`, { credentials: { username, password } })
})
afterAll(async () => {
  if (before.config === undefined) delete process.env.DOCKER_CONFIG
  else process.env.DOCKER_CONFIG = before.config
  process.env.PATH = before.path
  await rm(folder, { recursive: true })
})

/** Reads everything, and compares. */
async function pull(reference: string, options: RegistryOpenOptions = {}): Promise<void> {
  await using source = await openRegistry(reference, options)
  expect(source.descriptor).toEqual(image.descriptor)
  await Promise.all(
    source.manifest.layers.map(async (layer, at) => {
      expect(digestOf(await collect(layerTar(source, layer)))).toBe(image.config.rootfs.diff_ids[at])
    }),
  )
}

describe.skipIf(!hasRegistries)(`a registry${why}`, () => {
  it('gives what was pushed, by tag and by digest', async () => {
    await pull(`${open}/${name}`)
    await pull(`${open}/${name.replace(/:1$/, '')}@${image.descriptor.digest}`)
  })

  it('tells the progress of each layer', async () => {
    const steps: Progress[] = []
    await pull(`${open}/${name}`, { report: (step) => steps.push(step) })
    for (const { digest, size } of image.manifest.layers) {
      const mine = steps.filter(({ item }) => item === digest)
      expect(mine.at(0)).toEqual({ phase: 'download', item: digest, current: 0, total: size, unit: 'bytes' })
      expect(mine.at(-1)?.current).toBe(size)
    }
    expect(steps.length).toBeGreaterThan(6)
  })

  it('goes on at an offset', async () => {
    await using source = await openRegistry(`${open}/${name}`)
    const [layer] = source.manifest.layers
    if (!layer) throw new Error('no layer')
    const whole = await collect(source.blob(layer))
    expect((await collect(source.blob(layer, { offset: 1000 }))).equals(whole.subarray(1000))).toBe(true)
  })

  it('has not what it has not', async () => {
    for (const reference of [`${open}/vmkit-test/none:1`, `${open}/${name}2`, `${open}/${name.replace(/:1$/, '')}@${digestOf('x')}`]) {
      await expect(openRegistry(reference)).rejects.toMatchObject({
        code: 'IMAGE_NOT_FOUND',
        message: expect.stringContaining('MANIFEST_UNKNOWN'),
      })
    }
  })

  it('wants credentials, and says so without repeating them', async () => {
    const reference = `${closed}/${name}`
    await expect(openRegistry(reference)).rejects.toMatchObject({
      code: 'PERMISSION_DENIED',
      message: expect.stringContaining('wants credentials'),
    })
    const error = await openRegistry(reference, { credentials: { username, password: 'wrong-password' } }).catch((cause: unknown) => cause)
    expect(error).toMatchObject({ code: 'PERMISSION_DENIED', message: expect.stringContaining('does not accept') })
    const text = JSON.stringify(error) + String(error)
    expect(text).not.toContain('wrong-password')
    expect(text).not.toContain(Buffer.from(`${username}:wrong-password`).toString('base64'))
    await pull(reference, { credentials: { username, password } })
  })

  it('takes credentials from the Docker config file, from a helper and from a store', async () => {
    const reference = `${closed}/${name}`
    const config = (content: unknown) =>
      writeFile(join(folder, 'config.json'), typeof content === 'string' ? content : JSON.stringify(content))
    await config({ auths: { [closed as string]: { auth: Buffer.from(`${username}:${password}`).toString('base64') } } })
    await pull(reference)
    await expect(openRegistry(reference, { credentials: false })).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    const helper = join(folder, 'docker-credential-vmkit-test')
    await writeFile(
      helper,
      `#!/bin/sh\nread -r registry\n[ "$1 $registry" = "get ${closed}" ] || exit 1\necho '{"Username":"${username}","Secret":"${password}"}'\n`,
    )
    await chmod(helper, 0o755)
    process.env.PATH = `${folder}:${before.path}`
    await config({ credHelpers: { [closed as string]: 'vmkit-test' } })
    await pull(reference)
    await config({ credsStore: 'vmkit-test' })
    await pull(reference)
    await config({ credsStore: 'vmkit-test-none' })
    await expect(openRegistry(reference)).rejects.toMatchObject({
      code: 'PERMISSION_DENIED',
      message: expect.stringContaining('docker-credential-vmkit-test-none'),
    })
    await config({ credsStore: 'a; touch /tmp/x' })
    await expect(openRegistry(reference)).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    await config('{ "secret')
    await expect(openRegistry(reference)).rejects.toMatchObject({ code: 'INVALID_CONFIG', message: expect.not.stringContaining('secret') })
    await rm(join(folder, 'config.json'))
  })

  it('stops when aborted', async () => {
    const controller = new AbortController()
    await using source = await openRegistry(`${open}/${name}`, { signal: controller.signal })
    const [layer] = source.manifest.layers
    if (!layer) throw new Error('no layer')
    await expect(
      (async () => {
        for await (const _ of source.blob(layer)) controller.abort()
      })(),
    ).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(openRegistry(`${open}/${name}`, { signal: controller.signal })).rejects.toMatchObject({ code: 'ABORTED' })
  })
})

describe.skipIf(!hasRegistries)(`a bad connection${why}`, () => {
  it('that is cut at random points gives the same bytes in the end', async () => {
    let total = 0
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: LAYER / 2 }), { minLength: 4, maxLength: 12 }), async (points) => {
        let next = 0
        await using proxy = await cuttingProxy(open as string, () => points[next++])
        await pull(`${proxy.host}/${name}`, { retries: 12 })
        total += proxy.cuts()
      }),
      { numRuns: 6 },
    )
    expect(total).toBeGreaterThan(10)
  })

  it('that is always cut at the same byte is given up', async () => {
    await using proxy = await cuttingProxy(open as string, () => 40)
    await expect(openRegistry(`${proxy.host}/${name}`, { retries: 2 })).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      retryable: true,
    })
  })

  it('to nobody is told at once', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    await expect(openRegistry(`127.0.0.1:${port}/${name}`)).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      message: expect.stringContaining('ECONNREFUSED'),
    })
  })

  it('to one who never answers ends', async () => {
    await using proxy = await answeringProxy(open as string, () => true)
    const options = { idleTimeoutMs: 100, retries: 1 }
    await expect(openRegistry(`${proxy.host}/${name}`, options)).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
    const aborted = openRegistry(`${proxy.host}/${name}`, { signal: AbortSignal.timeout(50) })
    await expect(aborted).rejects.toMatchObject({ code: expect.stringMatching(/ABORTED|TIMEOUT/) })
  })
})

describe.skipIf(!hasRegistries)(`what a registry answers${why}`, () => {
  it('too many requests and failures are tried again, and told in the end', async () => {
    let failures = 0
    await using proxy = await answeringProxy(open as string, (_, reply) => {
      failures += 1
      if (failures % 3 === 0) return false
      reply.writeHead(failures % 3 === 1 ? 429 : 503, { 'retry-after': '0' }).end()
      return true
    })
    await pull(`${proxy.host}/${name}`)
    await using full = await answeringProxy(open as string, (_, reply) => {
      reply.writeHead(429).end(JSON.stringify({ errors: [{ code: 'TOOMANYREQUESTS', message: 'come back later' }] }))
      return true
    })
    await expect(openRegistry(`${full.host}/${name}`, { retries: 1 })).rejects.toMatchObject({
      code: 'BACKEND_ERROR',
      retryable: true,
      message: expect.stringContaining('TOOMANYREQUESTS: come back later'),
    })
  })

  it('a token: fetched once, with the credentials, and sent to the registry only', async () => {
    const token = 'the-token'
    await using store = await answeringProxy(open as string, () => false)
    const tokens: string[] = []
    await using registry = await answeringProxy(open as string, (call, reply) => {
      const url = new URL(call.url ?? '', `http://${call.headers.host}`)
      if (url.pathname === '/token') {
        tokens.push(`${url.search} ${call.headers.authorization}`)
        reply
          .writeHead(call.headers.authorization === `Basic ${Buffer.from('me:secret').toString('base64')}` ? 200 : 401)
          .end(JSON.stringify({ token, expires_in: 60 }))
        return true
      }
      if (call.headers.authorization !== `Bearer ${token}`) {
        reply
          .writeHead(401, {
            'www-authenticate': `Bearer realm="http://${call.headers.host}/token",service="vmkit",scope="repository:${name.slice(0, -2)}:pull"`,
          })
          .end()
        return true
      }
      if (!url.pathname.includes('/blobs/')) return false
      reply.writeHead(307, { location: `http://${store.host}${call.url}` }).end()
      return true
    })
    await pull(`${registry.host}/${name}`, { credentials: { username: 'me', password: 'secret' } })
    expect(tokens).toHaveLength(1)
    expect(tokens[0]).toContain('service=vmkit&scope=repository%3A')
    expect(store.seen.length).toBeGreaterThan(2)
    expect(store.seen.filter(({ authorization }) => authorization !== undefined)).toEqual([])
    const refused = await openRegistry(`${registry.host}/${name}`, { credentials: { username: 'me', password: 'wrong-password' } }).catch(
      (error: unknown) => error,
    )
    expect(refused).toMatchObject({ code: 'PERMISSION_DENIED' })
    expect(JSON.stringify(refused)).not.toContain('wrong-password')
  })

  it('a token that ran out is renewed', async () => {
    let made = 0
    let uses = 0
    await using registry = await answeringProxy(open as string, (call, reply) => {
      if (call.url === '/token?scope=s') return reply.end(JSON.stringify({ access_token: `t${++made}` })) && true
      if (call.headers.authorization === `Bearer t${made}` && ++uses % 2 === 1) return false
      reply.writeHead(401, { 'www-authenticate': `Bearer realm="http://${call.headers.host}/token",scope=s` }).end()
      return true
    })
    await using source = await openRegistry(`${registry.host}/${name}`, { credentials: false })
    for (const layer of source.manifest.layers) await collect(source.blob(layer))
    expect(made).toBeGreaterThan(2)
  })

  it('an identity token is exchanged for an access token', async () => {
    let body = ''
    await using registry = await answeringProxy(open as string, (call, reply) => {
      if (call.method === 'POST') {
        call.on('data', (chunk) => {
          body += chunk
        })
        call.on('end', () => reply.end('{"access_token":"a"}'))
        return true
      }
      if (call.headers.authorization === 'Bearer a') return false
      reply.writeHead(401, { 'www-authenticate': `Bearer realm="http://${call.headers.host}/token",service="s"` }).end()
      return true
    })
    await pull(`${registry.host}/${name}`, { credentials: { token: 'identity' } })
    expect(new URLSearchParams(body).get('refresh_token')).toBe('identity')
    expect(new URLSearchParams(body).get('scope')).toBe(`repository:${name.slice(0, -2)}:pull`)
  })

  it('a manifest or layer that is another than its digest is refused', async () => {
    await using manifests = await answeringProxy(open as string, (call, reply) => {
      if (!call.url?.includes('/manifests/')) return false
      reply.setHeader('content-type', image.descriptor.mediaType).end(
        Buffer.from(image.documents[0]?.bytes ?? [])
          .toString()
          .replace('2', '3'),
      )
      return true
    })
    const byDigest = `${manifests.host}/${name.slice(0, -2)}@${image.descriptor.digest}`
    await expect(openRegistry(byDigest)).rejects.toMatchObject({
      code: 'BACKEND_ERROR',
      message: expect.stringContaining('has the digest'),
    })
    const [layer] = image.manifest.layers
    for (const change of [(size: number) => Buffer.alloc(size), (size: number) => Buffer.alloc(size + 1), () => randomBytes(10_000_000)]) {
      await using blobs = await answeringProxy(open as string, (call, reply) => {
        if (!call.url?.includes(layer?.digest ?? '')) return false
        reply.end(change(layer?.size ?? 0))
        return true
      })
      await using source = await openRegistry(`${blobs.host}/${name}`)
      await expect(collect(source.blob(layer as never))).rejects.toMatchObject({ code: 'BACKEND_ERROR' })
    }
  })

  it('redirects in a circle are given up', async () => {
    await using proxy = await answeringProxy(open as string, (call, reply) => {
      reply.writeHead(302, { location: call.url }).end()
      return true
    })
    await expect(openRegistry(`${proxy.host}/${name}`)).rejects.toMatchObject({
      code: 'BACKEND_ERROR',
      message: expect.stringContaining('circle'),
    })
  })
})
