/** Images that are wrong on purpose, through each daemon: layers that break off, lie, or lead out; zstd; a daemon that goes away in a pull. */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { digestOf, type ImageSource, MEDIA_TYPES, writeArchive } from '@vmkit/oci'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { answeringProxy } from '../../oci/test/registries.js'
import { file, folder, hardlink, makeImage, openMade, symlink, tarOf } from '../../oci/test/support.js'
import { containerd as driverOf } from '../src/driver.js'
import type { Containerd } from '../src/grpc/connection.js'
import { cutter } from './cutter.js'
import { ownDaemon } from './daemon.js'
import { backendEnv, connect, dropNamespace, pushTestImage, requireEngine, sockets, why } from './engine.js'

const registry = backendEnv('VMKIT_REGISTRY')
const ctx = { signal: new AbortController().signal, deadline: undefined, report: () => undefined }
const busybox = () => readFileSync('/bin/busybox')

/** Everything in a namespace: names, content, uploads that were begun, snapshots, leases, containers. */
async function holdings(containerd: Containerd): Promise<string[]> {
  const found: string[] = []
  for await (const { info } of containerd.content.list({})) found.push(...info.map(({ digest }) => `content ${digest}`))
  for await (const { info } of containerd.snapshots.list({ snapshotter: 'overlayfs' }))
    found.push(...info.map(({ name }) => `snapshot ${name}`))
  found.push(...(await containerd.content.listStatuses({})).statuses.map(({ ref }) => `upload ${ref}`))
  found.push(...(await containerd.leases.list({})).leases.map(({ id }) => `lease ${id}`))
  found.push(...(await containerd.images.list({})).images.map(({ name }) => `image ${name}`))
  found.push(...(await containerd.containers.list({})).containers.map(({ id }) => `container ${id}`))
  return found
}

/** What each version does with a tar that leads out of its root: the same. */
const ESCAPES = {
  'a name with ..': 'contained',
  'a link to /': 'contained',
  'a link upwards': 'contained',
  'a hard link to a file of this host': 'INVALID_CONFIG',
} as const

const archiveOf = (source: ImageSource, reference: string) => writeArchive(source, { reference })

for (const [version, socket] of Object.entries(sockets)) {
  const runs = requireEngine(socket)
  describe.skipIf(!runs)(`layers on containerd ${version}${why(socket)}`, () => {
    const namespace = `vmkit-layers-${process.pid}`
    const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-containerd-test-'))
    const driver = driverOf({ socketPath: socket ?? '/nowhere.sock', namespace, stateDir })
    const link = connect(socket ?? '', namespace)
    let containerd: Containerd
    const images = () => driver.images as NonNullable<typeof driver.images>

    beforeAll(async () => {
      containerd = await link.get()
      await driver.list({}, ctx)
    })
    afterAll(async () => {
      await driver.close()
      link.close()
      await dropNamespace(socket as string, namespace)
      rmSync(stateDir, { recursive: true })
    })
    const nothingLeft = async () => {
      await containerd.leases.create({ id: 'sweep' })
      // Waits for the collector of garbage: what nothing holds is gone afterwards.
      await containerd.leases.delete({ id: 'sweep', sync: true })
      expect(await holdings(containerd)).toEqual([])
    }

    it('packed with zstd, run', async () => {
      const program = await tarOf(folder('bin'), file('bin/busybox', busybox(), { mode: 0o755 }))
      const image = await openMade(makeImage([program, await tarOf(file('told', 'by zstd'))], 'zstd'), 2 ** 20)
      const reference = 'vmkit-test/zstd:1'
      await images().import(archiveOf(image, reference), undefined, ctx)
      const { createManager } = await import('@vmkit/core')
      await using manager = createManager({ drivers: { containerd: driverOf({ socketPath: socket as string, namespace, stateDir }) } })
      await using vm = await manager.create(
        { image: reference, pull: 'never', command: ['/bin/busybox', 'cat', '/told'] },
        { driver: 'containerd' },
      )
      await vm.start()
      expect((await vm.wait()).code).toBe(0)
      const texts: string[] = []
      for await (const { text } of vm.logs()) texts.push(text)
      expect(texts).toEqual(['by zstd'])
      await vm.delete()
      await images().remove(reference, ctx)
      await nothingLeft()
    })

    it('that break off, or are not what the config says', async () => {
      const whole = makeImage([await tarOf(file('data', randomBytes(100_000)))], 'gzip')
      const source = await openMade(whole)
      const layer = Buffer.from(whole.blobs.get(source.manifest.layers[0]?.digest ?? '') ?? [])
      const cut = makeImage([layer.subarray(0, layer.length / 2)], 'none')
      const cutSource = await openMade(cut)
      // Said to be gzip, which it is, half.
      const half = {
        ...cutSource.manifest.layers[0],
        mediaType: source.manifest.layers[0]?.mediaType ?? '',
      } as (typeof source.manifest.layers)[0]
      const lying = await tarOf(file('other', 'content'))
      const cases: [string, ReturnType<typeof makeImage>][] = [
        ['truncated', remade(cut, { layers: [half] })],
        ['other diff id', remade(makeImage([lying]), {}, { type: 'layers', diff_ids: [source.config.rootfs.diff_ids[0] as string] })],
        ['no tar', makeImage([randomBytes(5000)])],
      ]
      for (const [what, made] of cases) {
        const failure = await images()
          .import(archiveOf(await openMade(made), `vmkit-test/bad:1`), undefined, ctx)
          .catch((error: unknown) => error)
        expect(failure, what).toMatchObject({ code: 'INVALID_CONFIG' })
        await nothingLeft()
      }
    })

    it('that lead out of the root stay within it, or are refused', async () => {
      const outside = join(stateDir, 'outside')
      const up = '../'.repeat(20)
      const hostile: Record<keyof typeof ESCAPES, Parameters<typeof tarOf>> = {
        'a name with ..': [file(`${up}${outside.slice(1)}`, 'out')],
        'a link to /': [symlink('out', '/'), file(`out${outside}`, 'out')],
        'a link upwards': [symlink('out', up), file(`out/${outside.slice(1)}`, 'out')],
        'a hard link to a file of this host': [hardlink('out', `${up}etc/passwd`)],
      }
      const outcomes: Record<string, string> = {}
      for (const [what, items] of Object.entries(hostile)) {
        const reference = 'vmkit-test/hostile:1'
        const image = await openMade(makeImage([await tarOf(...items)]))
        outcomes[what] = await images()
          .import(archiveOf(image, reference), undefined, ctx)
          .then(
            () => 'contained',
            (error: unknown) => (error as { code: string }).code,
          )
        expect(existsSync(outside), what).toBe(false)
        if (outcomes[what] === 'contained') await images().remove(reference, ctx)
        await nothingLeft()
      }
      expect(outcomes).toEqual(ESCAPES)
    })

    it.skipIf(registry === undefined)(`whose digest is another, from a registry${why(registry)}`, async () => {
      const path = `vmkit-test/lying-${process.pid}-${version}:1`
      const size = 6 * 2 ** 20
      await pushTestImage(`${registry}/${path}`, { 'data/random': randomBytes(size) })
      let lies = true
      await using proxy = await answeringProxy(registry as string, (call, reply) => {
        if (!lies || call.method !== 'GET' || !/blobs\/sha256/.test(call.url ?? '')) return false
        reply.end(randomBytes(size + 2 ** 20))
        return true
      })
      const reference = `${proxy.host}/${path}`
      const failure = await images()
        .pull({ reference }, ctx)
        .catch((error: unknown) => error)
      expect(failure).toMatchObject({ code: 'BACKEND_ERROR', message: expect.stringMatching(/digest|longer/) })
      await nothingLeft()
      // What was wrong is not gone on with.
      lies = false
      await images().pull({ reference }, ctx)
      await images().remove(reference, ctx)
      await nothingLeft()
    })

    it.skipIf(registry === undefined)(
      `from a registry, while the daemon goes away, and again when it is back${why(registry)}`,
      { timeout: 90_000 },
      async () => {
        const size = 16 * 2 ** 20
        const path = `vmkit-test/away-${process.pid}-${version}:1`
        await pushTestImage(`${registry}/${path}`, { 'data/random': randomBytes(size) })
        await using daemon = await ownDaemon(socket as string)
        const own = driverOf({ socketPath: daemon.socketPath, namespace: 'away', stateDir: join(daemon.folder, 'vmkit') })
        const proxy = await cutter(registry as string)
        const ownLink = connect(daemon.socketPath, 'away')
        try {
          const reference = `${proxy.host}/${path}`
          // No more comes before the daemon has gone: however long that takes, the pull is not over by then.
          const stopped = new Promise<void>((resolve, reject) => {
            proxy.stallAfter(6 * 2 ** 20, () => daemon.stop().then(resolve, reject))
          }).then(() => {
            proxy.stallAfter(undefined)
            proxy.cut()
          })
          const failure = await own.images?.pull({ reference }, ctx).catch((error: unknown) => error)
          expect(failure).toMatchObject({ code: 'BACKEND_UNAVAILABLE' })
          await stopped
          await daemon.start()
          await own.images?.pull({ reference }, ctx)
          expect(proxy.served()).toBeLessThan(2 * size)
          const client = await ownLink.get()
          const kept = await holdings(client)
          expect(kept.filter((line) => /^(lease|upload)/.test(line))).toEqual([])
          await own.images?.remove(reference, ctx)
          expect(await holdings(client)).toEqual([])
        } finally {
          await own.close()
          ownLink.close()
          await proxy.close()
        }
      },
    )
  })
}

/** The same blobs with another manifest, or another config. */
function remade(
  { blobs, manifest }: ReturnType<typeof makeImage>,
  changes: object,
  rootfs?: { type: 'layers'; diff_ids: string[] },
): ReturnType<typeof makeImage> {
  const read = (digest: string) => JSON.parse(Buffer.from(blobs.get(digest) ?? []).toString()) as { config: { digest: string } }
  const old = read(manifest.digest)
  const config = { ...read(old.config.digest), ...(rootfs ? { rootfs } : {}) }
  const next = new Map(blobs)
  const put = (value: object, mediaType: string) => {
    const bytes = Buffer.from(JSON.stringify(value))
    const digest = digestOf(bytes)
    next.set(digest, bytes)
    return { mediaType, digest, size: bytes.length }
  }
  const described = put(config, MEDIA_TYPES.config)
  return { blobs: next, manifest: put({ ...old, config: described, ...changes }, MEDIA_TYPES.manifest) }
}
