/** Images on every version of the daemon: import, list, pull, remove, and what a broken pull leaves. */
import { randomBytes, randomUUID } from 'node:crypto'
import type { CallContext, Progress } from '@vmkit/core/driver'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Containerd } from '../src/grpc/connection.js'
import { imageAccess } from '../src/images/access.js'
import { ensureImage } from '../src/images/ensure.js'
import { containerdImages } from '../src/images/images.js'
import { withLease } from '../src/images/leases.js'
import type { ContainerdOptions } from '../src/options.js'
import { prepareRootfs, removeRootfs } from '../src/snapshots/rootfs.js'
import { cutter } from './cutter.js'
import { archiveOf, backendEnv, connect, pushTestImage, registryCredentials, requireEngine, sockets, testImage, why } from './engine.js'

const registry = backendEnv('VMKIT_REGISTRY')
const privateRegistry = backendEnv('VMKIT_PRIVATE_REGISTRY')

const never = (): CallContext => ({ signal: new AbortController().signal, deadline: undefined, report: () => undefined })

/** What a namespace holds beyond its images. */
async function leftovers(containerd: Containerd) {
  const { leases } = await containerd.leases.list({})
  const snapshots: string[] = []
  for await (const { info } of containerd.snapshots.list({ snapshotter: 'overlayfs' })) snapshots.push(...info.map(({ name }) => name))
  return { leases: leases.map(({ id }) => id), active: snapshots.filter((name) => name.startsWith('vmkit-')), snapshots }
}

const cases: [string, string | undefined, ContainerdOptions][] = [
  ...Object.entries(sockets).map(([version, socket]): (typeof cases)[number] => [version, socket, {}]),
  ['2, by our own client', sockets['2'], { pullBy: 'client' }],
]

for (const [at, [version, socket, options]] of cases.entries()) {
  const runs = requireEngine(socket)
  describe.skipIf(!runs)(`images on containerd ${version}${why(socket)}`, () => {
    const namespace = `vmkit-images-${process.pid}`
    const link = connect(socket ?? '', namespace)
    const access = imageAccess(link, options)
    const images = containerdImages(access)
    let containerd: Containerd

    beforeAll(async () => {
      containerd = await link.get()
      await containerd.namespaces.create({ namespace: { name: namespace } })
    })

    afterAll(async () => {
      for (const { reference } of await images.list(never())) await images.remove(reference, never())
      await containerd.namespaces.delete({ name: namespace })
      link.close()
    })

    it('imports an archive, lists it, unpacks it for a machine, and removes it', async () => {
      const reference = 'vmkit-test/imported:1'
      const progress: Progress[] = []
      const made = await images.import(archiveOf(await testImage(reference)), undefined, {
        ...never(),
        report: (step) => progress.push(step),
      })
      expect(made).toMatchObject({ reference })
      expect(made.sizeBytes).toBeGreaterThan(100_000)
      expect(progress.map(({ phase }) => phase)).toContain('extract')
      expect((await images.list(never())).map((each) => each.reference)).toEqual([reference])
      await withLease(containerd, never(), async (lease) => {
        const config = { image: reference, pull: 'never' } as Parameters<typeof ensureImage>[1]
        const { parent, snapshotter, config: imageConfig } = await ensureImage(access, config, lease, never())
        expect(imageConfig.config?.Cmd).toEqual(['sh'])
        const key = `vmkit-test-${randomUUID()}`
        const mounts = await prepareRootfs(containerd, { snapshotter, key, parent }, { signal: never().signal, lease })
        expect(mounts.length).toBeGreaterThan(0)
        await removeRootfs(containerd, { snapshotter, key }, {})
      })
      await images.remove(reference, never())
      await expect(images.remove(reference, never())).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' })
      expect(await leftovers(containerd)).toEqual({ leases: [], active: [], snapshots: [] })
    })

    it('refuses what is no image, and a name that is none, and leaves nothing', async () => {
      async function* noise() {
        yield randomBytes(4096)
      }
      await expect(images.import(noise(), 'vmkit-test/noise:1', never())).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
      await expect(images.import(noise(), '../../etc', never())).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
      await expect(images.pull({ reference: 'UPPER/case:1' }, never())).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
      expect(await leftovers(containerd)).toEqual({ leases: [], active: [], snapshots: [] })
    })

    it.skipIf(registry === undefined)(`pulls with progress per layer, and again at no cost${why(registry)}`, async () => {
      const reference = `${registry}/vmkit-test/pulled-${process.pid}:1`
      await pushTestImage(reference, { 'data/random': randomBytes(2 ** 20) })
      const progress: Progress[] = []
      const made = await images.pull({ reference }, { ...never(), report: (step) => progress.push(step) })
      const bytes = progress.filter(({ phase }) => phase === 'download').at(-1)
      expect(bytes?.current).toBe(bytes?.total)
      expect(await images.pull({ reference, policy: 'missing' }, never())).toMatchObject({ id: made.id })
      await images.remove(reference, never())
      expect(await leftovers(containerd)).toEqual({ leases: [], active: [], snapshots: [] })
    })

    it.skipIf(registry === undefined)(
      `says of an image that is not there, and of a registry that is not there${why(registry)}`,
      async () => {
        await expect(images.pull({ reference: `${registry}/vmkit-test/nothing:1` }, never())).rejects.toMatchObject({
          code: 'IMAGE_NOT_FOUND',
        })
        expect(await leftovers(containerd)).toEqual({ leases: [], active: [], snapshots: [] })
      },
    )

    it.skipIf(privateRegistry === undefined)(
      `takes credentials from the call and from the options, and refuses wrong ones${why(privateRegistry)}`,
      async () => {
        const reference = `${privateRegistry}/vmkit-test/secret-${process.pid}:1`
        await pushTestImage(reference)
        const auth = registryCredentials(reference) || { username: '', password: '' }
        const wrong = { username: auth.username, password: 'wrong-one' }
        const refusal = await images.pull({ reference, auth: wrong }, never()).catch((error: unknown) => error)
        expect(refusal).toMatchObject({ code: 'PERMISSION_DENIED' })
        expect(JSON.stringify(refusal)).not.toContain('wrong-one')
        await images.pull({ reference, auth }, never())
        await images.remove(reference, never())
        const configured = containerdImages(imageAccess(link, { ...options, registries: { [privateRegistry as string]: auth } }))
        await configured.pull({ reference }, never())
        await images.remove(reference, never())
      },
    )

    it.skipIf(registry === undefined)(
      `goes on with a pull that was cut or aborted, with the right digests and no lease left${why(registry)}`,
      { timeout: 60_000 },
      async () => {
        const blob = randomBytes(12 * 2 ** 20)
        const path = `vmkit-test/cut-${process.pid}-${at}:1`
        await pushTestImage(`${registry}/${path}`, { 'data/random': blob })
        const proxy = await cutter(registry as string)
        try {
          const reference = `${proxy.host}/${path}`
          const seed = Math.floor(Math.random() * 2 ** 31)
          let random = seed
          const next = () => {
            random = (random * 1103515245 + 12345) % 2 ** 31
            return random / 2 ** 31
          }
          let served = 0
          for (let attempt = 0; attempt < 4; attempt++) {
            const ended = new AbortController()
            proxy.cutAfter(2 ** 20 + Math.floor(next() * 4 * 2 ** 20), () => {
              if (attempt % 2 === 0) ended.abort(new Error('enough'))
            })
            const outcome = await images.pull({ reference }, { ...never(), signal: ended.signal }).catch((error: unknown) => error)
            if (attempt % 2 === 0) expect(outcome, `seed ${seed}`).toMatchObject({ code: 'ABORTED' })
            served = proxy.served()
            expect((await leftovers(containerd)).leases, `seed ${seed}`).toEqual([])
            if (attempt % 2 === 1) break
          }
          proxy.cutAfter(undefined)
          await images.pull({ reference }, never())
          // A second download of everything would be no resumption.
          expect(proxy.served(), `seed ${seed}, ${served} before`).toBeLessThan(2 * blob.length)
          expect(await leftovers(containerd)).toMatchObject({ leases: [], active: [] })
          const exported = await containerd.images.get({ name: reference })
          expect(exported.image?.target?.digest).toMatch(/^sha256:/)
          await images.remove(reference, never())
        } finally {
          await proxy.close()
        }
      },
    )
  })
}
