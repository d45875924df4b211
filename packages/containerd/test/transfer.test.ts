/** Who pulls: containerd's Transfer service where it can, our own client where it cannot, and both to the same end. */
import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import type { CallContext, Progress } from '@vmkit/core/driver'
import type { Credentials, Descriptor } from '@vmkit/oci'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { file, makeImage, openMade as openImageOf, tarOf } from '../../oci/test/support.js'
import { containerd as driverOf } from '../src/driver.js'
import type { Containerd } from '../src/grpc/connection.js'
import { imageAccess } from '../src/images/access.js'
import { ensureImage } from '../src/images/ensure.js'
import { containerdImages } from '../src/images/images.js'
import { withLease } from '../src/images/leases.js'
import type { ContainerdOptions } from '../src/options.js'
import { cutter } from './cutter.js'
import { connect, dropNamespace, requireEngine, sockets, why } from './engine.js'
import { indexOf, testRegistry } from './registry.js'

const LARGE = 6 * 2 ** 20
const never = new AbortController().signal
const ctxOf = (signal = never): CallContext & { told: Progress[] } => {
  const told: Progress[] = []
  return { signal, deadline: undefined, told, report: (step) => void told.push(step) }
}
const ourAddress = Object.values(networkInterfaces())
  .flat()
  .find((each) => each?.family === 'IPv4' && !each.internal)?.address

const whyLocal = ourAddress === undefined ? ' (not run: this host has no address but loopback)' : ''

/** An image of noise, ready to be served. */
async function noise(sizes = [LARGE, 1000], architecture = process.arch === 'arm64' ? 'arm64' : 'amd64') {
  const made = makeImage(await Promise.all(sizes.map((size, at) => tarOf(file(`f${at}`, randomBytes(size))))), 'gzip', { architecture })
  const { manifest, config } = await openImageOf(made)
  return { ...made, root: made.manifest, layers: manifest.layers, config, architecture }
}

for (const [version, socket] of Object.entries(sockets)) {
  const runs = requireEngine(socket)
  const hasService = version === '2'
  describe.skipIf(!runs)(`who pulls on containerd ${version}${why(socket)}`, () => {
    const namespace = `vmkit-transfer-${process.pid}`
    const link = connect(socket ?? '', namespace)
    let containerd: Containerd
    let stateDir: string
    const imagesOf = (options: ContainerdOptions = {}) => containerdImages(imageAccess(link, options))

    beforeAll(async () => {
      stateDir = await mkdtemp(join(tmpdir(), 'vmkit-transfer-'))
      containerd = await link.get()
      await containerd.namespaces.create({ namespace: { name: namespace } })
    })
    afterAll(async () => {
      link.close()
      if (socket !== undefined) await dropNamespace(socket, namespace)
      await rm(stateDir, { recursive: true })
    })

    /** Waits for the collector of garbage: what nothing holds is gone afterwards. */
    const collected = async () => {
      await containerd.leases.create({ id: 'sweep' })
      await containerd.leases.delete({ id: 'sweep', sync: true })
    }

    const nothingLeft = async () => {
      const found: string[] = []
      found.push(...(await containerd.leases.list({})).leases.map(({ id }) => `lease ${id}`))
      found.push(...(await containerd.images.list({})).images.map(({ name }) => `image ${name}`))
      for await (const { info } of containerd.snapshots.list({ snapshotter: 'overlayfs' }))
        found.push(...info.filter(({ kind }) => kind === 2).map(({ name }) => `active snapshot ${name}`))
      expect(found).toEqual([])
    }

    it('the probe says, and why', async () => {
      const probed = async (pullBy?: 'client' | 'transfer') => {
        const driver = driverOf({ socketPath: socket as string, namespace, stateDir, ...(pullBy ? { pullBy } : {}) })
        const found = await driver.probe(ctxOf())
        await driver.close()
        return found.details?.pulls
      }
      const reason = { '1.6': /^by our own client: the daemon has no plugin .*transfer/, '1.7': /^by our own client: .* https alone/ }[
        version
      ]
      expect(await probed()).toMatch(reason ?? /^by containerd's Transfer service: /)
      expect(await probed('client')).toMatch(/^by our own client: .*pullBy/)
      expect(await probed('transfer')).toMatch(hasService ? /^by containerd's Transfer service: .*pullBy/ : /cannot pull here/)
    })

    if (!hasService)
      it('refuses `transfer` before anything is made', async () => {
        await using registry = await testRegistry(await noise([1000]))
        const pulling = imagesOf({ pullBy: 'transfer' }).pull({ reference: `${registry.host}/a/b:1` }, ctxOf())
        await expect(pulling).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'options.pullBy' })
        expect(registry.seen).toEqual([])
        await nothingLeft()
      })

    it('fetches each layer once, tells of it, and makes the same of it', async () => {
      const made = await noise()
      const results: unknown[] = []
      for (const pullBy of ['auto', 'client'] as const) {
        await using registry = await testRegistry({ ...made, address: '127.0.0.1' })
        const reference = `${registry.host}/who/pulls:1`
        const ctx = ctxOf()
        const { id, sizeBytes } = await imagesOf({ pullBy }).pull({ reference }, ctx)
        const byService = hasService && pullBy === 'auto'
        for (const { digest, size } of made.layers) {
          expect(registry.agentsOf(digest), digest).toEqual([expect.stringMatching(byService ? /^containerd\// : /^vmkit/)])
          const steps = ctx.told.filter(({ phase, item }) => phase === 'download' && item === digest)
          expect(steps.at(-1)).toEqual({ phase: 'download', item: digest, current: size, total: size, unit: 'bytes' })
        }
        expect(ctx.told[0]).toMatchObject({ phase: 'pull', message: expect.stringMatching(byService ? /Transfer service/ : /our own/) })
        expect(ctx.told.filter(({ phase }) => phase === 'pull')).toHaveLength(1)
        const content: string[] = []
        for await (const { info } of containerd.content.list({}))
          content.push(...info.map((each) => `${each.digest} ${labelsOf(each, made.layers)}`))
        const snapshots: string[] = []
        for await (const { info } of containerd.snapshots.list({ snapshotter: 'overlayfs' }))
          snapshots.push(...info.map(({ name }) => name))
        results.push({ id, sizeBytes, content: content.sort(), snapshots: snapshots.sort() })
        await imagesOf().remove(reference, ctxOf())
        await nothingLeft()
      }
      expect(results[0]).toEqual(results[1])
    })

    it('refuses a layer that is another, by whomever, and does not go on from it', { timeout: 30_000 }, async () => {
      for (const pullBy of hasService ? (['transfer', 'auto', 'client'] as const) : (['auto'] as const)) {
        const made = await noise()
        const { digest, size } = made.layers[0] as Descriptor
        let lies = true
        await using registry = await testRegistry({
          ...made,
          answer({ path }, reply) {
            if (!lies || !path.endsWith(digest)) return false
            reply.end(randomBytes(size))
            return true
          },
        })
        const reference = `${registry.host}/another/layer:1`
        const pulling = imagesOf({ pullBy }).pull({ reference }, ctxOf())
        await expect(pulling, pullBy).rejects.toMatchObject({ code: 'BACKEND_ERROR', message: expect.stringMatching(/digest/) })
        await nothingLeft()
        const { statuses } = await containerd.content.listStatuses({})
        expect(statuses.filter(({ ref }) => ref.includes(digest))).toEqual([])
        lies = false
        await imagesOf({ pullBy }).pull({ reference }, ctxOf())
        await imagesOf().remove(reference, ctxOf())
        await nothingLeft()
      }
    })

    // What follows asks the service itself.
    if (!hasService) return

    it('gives the daemon a login from each place, and nobody else', async () => {
      const login = { username: 'somebody', password: 'the-very-secret' }
      const token = 'an-identity-token'
      const made = await noise([1000])
      await using registry = await testRegistry({ ...made, login: { ...login, token } })
      const reference = `${registry.host}/secret/image:1`
      const images = imagesOf({ pullBy: 'transfer' })
      const before = { config: process.env.DOCKER_CONFIG, path: process.env.PATH }
      const pullAndRemove = async (by: typeof images, auth?: Credentials) => {
        registry.seen.length = 0
        await by.pull({ reference, ...(auth ? { auth } : {}) }, ctxOf())
        expect(registry.agentsOf(made.layers[0]?.digest as string)).toEqual([expect.stringMatching(/^containerd\//)])
        await by.remove(reference, ctxOf())
      }
      try {
        process.env.DOCKER_CONFIG = stateDir
        await pullAndRemove(images, login)
        await pullAndRemove(imagesOf({ pullBy: 'transfer', registries: { [registry.host]: login } }))
        const auth = Buffer.from(`${login.username}:${login.password}`).toString('base64')
        await writeFile(join(stateDir, 'config.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }))
        await pullAndRemove(images)
        await pullAndRemove(images, { token })
        const helper = join(stateDir, 'docker-credential-test')
        await writeFile(helper, `#!/bin/sh\necho '{"Username":"${login.username}","Secret":"${login.password}"}'\n`)
        await chmod(helper, 0o755)
        process.env.PATH = `${stateDir}:${before.path}`
        await writeFile(join(stateDir, 'config.json'), JSON.stringify({ credsStore: 'test' }))
        await pullAndRemove(images)
        const refusal = await images
          .pull({ reference, auth: { ...login, password: 'wrong-one' } }, ctxOf())
          .catch((error: unknown) => error)
        expect(refusal).toMatchObject({ code: 'PERMISSION_DENIED' })
        expect(inspect(refusal, { depth: 9 })).not.toContain('wrong-one')
      } finally {
        process.env.PATH = before.path
        if (before.config === undefined) delete process.env.DOCKER_CONFIG
        else process.env.DOCKER_CONFIG = before.config
      }
      await nothingLeft()
    })

    it('says what the registry told the daemon, without the secret; and `auto` does it by itself', async () => {
      const login = { username: 'somebody', password: 'the-very-secret' }
      const made = await noise()
      const digest = made.layers[0]?.digest as string
      await using registry = await testRegistry({
        ...made,
        login,
        answer({ agent, path, authorization }, reply) {
          if (!agent.startsWith('containerd') || !path.endsWith(digest)) return false
          reply.writeHead(403, { 'content-type': 'application/json' })
          reply.end(JSON.stringify({ errors: [{ code: 'DENIED', message: `no, ${login.password}, ${authorization}` }] }))
          return true
        },
      })
      const reference = `${registry.host}/secret/refused:1`
      const refusal = await imagesOf({ pullBy: 'transfer' })
        .pull({ reference, auth: login }, ctxOf())
        .catch((error: unknown) => error)
      expect(refusal).toMatchObject({ code: 'PERMISSION_DENIED' })
      expect(inspect(refusal, { depth: 9 })).not.toContain(login.password)
      await nothingLeft()
      const ctx = ctxOf()
      await imagesOf().pull({ reference, auth: login }, ctx)
      expect(ctx.told).toContainEqual({
        phase: 'pull',
        message: expect.stringMatching(/^by our own client: the Transfer service broke off/),
      })
      expect(inspect(ctx.told)).not.toContain(login.password)
      expect(registry.agentsOf(digest).at(-1)).toMatch(/^vmkit/)
      await imagesOf().remove(reference, ctxOf())
      await nothingLeft()
    })

    it('takes one platform of an index, and the other one beside it', async () => {
      const [amd64, arm64] = [await noise([1000], 'amd64'), await noise([1000], 'arm64')]
      await using registry = await testRegistry(indexOf([arm64, amd64]))
      const reference = `${registry.host}/many/platforms:1`
      const images = imagesOf({ pullBy: 'transfer' })
      const [ours, other] = process.arch === 'arm64' ? [arm64, amd64] : [amd64, arm64]
      await images.pull({ reference }, ctxOf())
      expect(registry.agentsOf(other.layers[0]?.digest as string)).toEqual([])
      await images.pull({ reference, platform: `linux/${other.architecture}` }, ctxOf())
      expect(registry.agentsOf(other.layers[0]?.digest as string)).toHaveLength(1)
      await expect(images.pull({ reference, platform: 'linux/s390x' }, ctxOf())).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' })
      for (const { layers } of [ours, other]) await containerd.content.info({ digest: layers[0]?.digest as string })
      await images.remove(reference, ctxOf())
      await nothingLeft()
    })

    it.skipIf(ourAddress === undefined)(`speaks plain HTTP where the options say so${whyLocal}`, async () => {
      await using registry = await testRegistry({ ...(await noise([1000])), address: ourAddress as string })
      const reference = `${registry.host}/plain/http:1`
      await expect(imagesOf({ pullBy: 'transfer' }).pull({ reference }, ctxOf())).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
      const images = imagesOf({ pullBy: 'transfer', insecureRegistries: [registry.host] })
      await images.pull({ reference }, ctxOf())
      await images.remove(reference, ctxOf())
      await nothingLeft()
    })

    /** How often the daemon makes and ends a lease until `work` has ended: a clock that goes as slowly as a busy host does. */
    const leasesUntil = async (work: Promise<unknown>) => {
      let isOver = false
      const over = work.finally(() => {
        isOver = true
      })
      // It is told when it is awaited.
      over.catch(() => undefined)
      let made = 0
      for (; !isOver; made += 1) {
        await containerd.leases.create({ id: 'clock' })
        await containerd.leases.delete({ id: 'clock' })
      }
      await over
      return made
    }

    it('ends at once with an abort, and goes on from there, by whomever', { timeout: 60_000 }, async () => {
      const made = await noise([3 * LARGE])
      const digest = made.layers[0]?.digest as string
      await using registry = await testRegistry(made)
      const proxy = await cutter(registry.host)
      const reference = `${proxy.host}/aborted/image:1`
      try {
        for (const [first, second] of [
          ['transfer', 'client'],
          ['client', 'transfer'],
        ] as const) {
          const ended = new AbortController()
          // What has arrived is told a while later, or in a few steps: then no more comes, and the pull waits.
          proxy.stallAfter(2 * LARGE)
          const report = ({ phase, current = 0 }: Progress) => {
            if (phase !== 'download' || current < LARGE || ended.signal.aborted) return
            ended.abort(new Error('enough'))
          }
          const pulling = imagesOf({ pullBy: first }).pull({ reference }, { ...ctxOf(ended.signal), report })
          const rejected = expect(pulling).rejects.toMatchObject({ code: 'ABORTED' })
          await Promise.race([rejected, new Promise((resolve) => ended.signal.addEventListener('abort', resolve, { once: true }))])
          // Its own lease is ended, and nothing else waited for: the limits of that are some seconds, a lease takes milliseconds.
          expect(await leasesUntil(rejected)).toBeLessThan(50)
          // The daemon learns of the abort, and takes back its own preparations, when the caller has left.
          await collected()
          await nothingLeft()
          proxy.stallAfter(undefined)
          await imagesOf({ pullBy: second }).pull({ reference }, ctxOf())
          const { agent, range = '' } = registry.seen.filter(({ path }) => path.endsWith(digest)).at(-1) ?? {}
          expect(agent).toMatch(second === 'transfer' ? /^containerd/ : /^vmkit/)
          expect(Number(/^bytes=(\d+)-/.exec(range)?.[1]), `${second}: ${range}`).toBeGreaterThanOrEqual(LARGE)
          await imagesOf().remove(reference, ctxOf())
          await nothingLeft()
        }
      } finally {
        await proxy.close()
      }
    })

    it('serves a create that pulls, always, when missing, or never', async () => {
      const made = await noise([1000])
      await using registry = await testRegistry(made)
      const reference = `${registry.host}/for/create:1`
      const access = imageAccess(link, { pullBy: 'transfer' })
      const ensure = (pull: 'always' | 'missing' | 'never') =>
        withLease(containerd, { signal: never }, (lease) =>
          ensureImage(access, { image: reference, pull } as Parameters<typeof ensureImage>[1], lease, ctxOf()),
        )
      const digest = made.layers[0]?.digest as string
      await expect(ensure('never')).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' })
      expect(registry.seen).toEqual([])
      await ensure('missing')
      const asked = registry.seen.length
      await ensure('missing')
      await ensure('never')
      expect(registry.seen).toHaveLength(asked)
      await ensure('always')
      expect(registry.seen.length).toBeGreaterThan(asked)
      expect(registry.agentsOf(digest)).toEqual([expect.stringMatching(/^containerd\//)])
      await containerdImages(access).remove(reference, ctxOf())
      await nothingLeft()
    })

    it('leaves a snapshotter that the service does not unpack for to our own client', async () => {
      const made = await noise([1000])
      await using registry = await testRegistry(made)
      const reference = `${registry.host}/other/snapshotter:1`
      const refusal = await imagesOf({ pullBy: 'transfer', snapshotter: 'native' })
        .pull({ reference }, ctxOf())
        .catch((error: unknown) => error)
      expect(refusal).toMatchObject({ name: 'VMKitError' })
      await nothingLeft()
      registry.seen.length = 0
      await imagesOf({ snapshotter: 'native' }).pull({ reference }, ctxOf())
      await imagesOf().remove(reference, ctxOf())
      await nothingLeft()
    })
  })
}

/** Those that keep content, and those of layers; where documents came from only the service writes down. */
function labelsOf({ digest, labels }: { digest: string; labels: Record<string, string> }, layers: readonly Descriptor[]): string {
  const isLayer = layers.some((layer) => layer.digest === digest)
  const kept = Object.entries(labels).filter(([name]) => isLayer || !name.startsWith('containerd.io/distribution.source.'))
  return JSON.stringify(kept.sort(([one], [other]) => (one < other ? -1 : 1)))
}
