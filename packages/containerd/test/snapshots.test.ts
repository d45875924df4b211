/** Snapshots, clones and what they leave, on every version of the daemon. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager } from '@vmkit/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { containerd as driver } from '../src/driver.js'
import type { Containerd } from '../src/grpc/connection.js'
import { connect, ensureTestImage, IMAGE, requireEngine, sockets, why } from './engine.js'

for (const [version, socket] of Object.entries(sockets)) {
  const runs = requireEngine(socket)
  describe.skipIf(!runs)(`snapshots on containerd ${version}${why(socket)}`, () => {
    const namespace = `vmkit-snapshots-${process.pid}`
    const link = connect(socket ?? '', namespace)
    let stateDir = ''
    let containerd: Containerd
    const managers: ReturnType<typeof managerOf>[] = []
    const managerOf = () => createManager({ drivers: { containerd: driver({ socketPath: socket as string, namespace, stateDir }) } })

    beforeAll(async () => {
      stateDir = await mkdtemp(join(tmpdir(), 'vmkit-containerd-test-'))
      containerd = await link.get()
      await containerd.namespaces.create({ namespace: { name: namespace } })
      await ensureTestImage(socket as string, namespace)
      managers.push(managerOf())
    })

    afterAll(async () => {
      for (const manager of managers) await manager.close()
      const { images } = await containerd.images.list({})
      for (const { name } of images) await containerd.images.delete({ name, sync: true })
      await containerd.namespaces.delete({ name: namespace })
      link.close()
      await rm(stateDir, { recursive: true, force: true })
    })

    const keys = async () => {
      const all: string[] = []
      for await (const { info } of containerd.snapshots.list({ snapshotter: 'overlayfs' })) all.push(...info.map(({ name }) => name))
      return all
    }

    it('keeps a clone alive when machine, snapshot and image are gone, and leaves nothing after it', { timeout: 60_000 }, async () => {
      const manager = managers[0] as (typeof managers)[0]
      const before = await keys()
      const vm = await manager.create(
        { image: IMAGE, pull: 'never', command: ['sh', '-c', 'echo kept > /data/file; sleep 1000'] },
        { driver: 'containerd' },
      )
      await vm.start()
      await vm.waitFor({ exec: ['test', '-s', '/data/file'], timeoutMs: 10_000 })
      await vm.snapshot('base')
      await vm.exec(['sh', '-c', 'echo later > /data/file; echo more > /data/more'])
      await vm.snapshot('later')
      const copy = (await vm.clone('base', { onDispose: 'detach' })) as typeof vm
      await vm.restore('later')
      await vm.restore('base')
      expect((await vm.status()).state).toBe('stopped')
      await vm.snapshot('third')
      expect((await vm.snapshots()).map(({ tag }) => tag)).toEqual(['base', 'later', 'third'])
      await vm.delete({ force: true })
      await containerd.content.list({}).next()
      await copy.start()
      expect((await copy.exec(['cat', '/data/file'])).stdout).toBe('kept\n')
      // It stands on content that no image names any more.
      await copy.snapshot('own')
      await copy.delete({ force: true })
      expect((await containerd.leases.list({})).leases).toEqual([])
      expect((await keys()).sort()).toEqual(before.sort())
    })
  })
}
