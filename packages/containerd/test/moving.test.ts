/** Machines that move: as a bundle, to another daemon, and with their memory. */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManager } from '@vmkit/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { containerd as driver } from '../src/driver.js'
import { connect, ensureTestImage, IMAGE, requireEngine, sockets, why } from './engine.js'

/** Its memory holds a number of its own, by which a process that began anew would be told. */
const TICK = [
  'sh',
  '-c',
  'own=$RANDOM$RANDOM; i=0; while :; do i=$((i+1)); echo tick $i; echo $own $i > /data/new; mv /data/new /data/count; sleep 0.1; done',
]
const versions = Object.entries(sockets)

for (const [index, [version, socket]] of versions.entries()) {
  // Each one to the next: three daemons in a ring.
  const target = versions[(index + 1) % versions.length]?.[1]
  const runs = requireEngine(socket) && requireEngine(target)
  describe.skipIf(!runs)(`moving on containerd ${version}${why(socket)}`, () => {
    const namespaces = { here: `vmkit-here-${process.pid}-${index}`, there: `vmkit-there-${process.pid}-${index}` }
    let folder = ''
    const managerOf = (socketPath: string, name: keyof typeof namespaces) =>
      createManager({ drivers: { containerd: driver({ socketPath, namespace: namespaces[name], stateDir: join(folder, name) }) } })
    let here: ReturnType<typeof managerOf>
    let there: ReturnType<typeof managerOf>

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'vmkit-containerd-test-'))
      here = managerOf(socket as string, 'here')
      there = managerOf(target as string, 'there')
      await here.driver('containerd').probe()
      await there.driver('containerd').probe()
      await ensureTestImage(socket as string, namespaces.here)
    })

    afterAll(async () => {
      await here.close()
      await there.close()
      for (const [each, namespace] of [
        [socket, namespaces.here],
        [target, namespaces.there],
      ] as const) {
        const link = connect(each as string, namespace)
        const containerd = await link.get()
        expect((await containerd.leases.list({})).leases).toEqual([])
        const { images } = await containerd.images.list({})
        expect(images.map(({ name }) => name).filter((name) => name.startsWith('vmkit.local/'))).toEqual([])
        for (const { name } of images) await containerd.images.delete({ name, sync: true })
        // What is left in a namespace keeps it from being deleted.
        await containerd.namespaces.delete({ name: namespace })
        link.close()
      }
      await rm(folder, { recursive: true, force: true })
    })

    const create = (command: string[]) =>
      here.create({ image: IMAGE, pull: 'never', command, stop: { graceMs: 500 } }, { driver: 'containerd' })

    it('as a bundle to another daemon, which has not its image', { timeout: 60_000 }, async () => {
      const vm = await create(['sh', '-c', 'echo carried > /data/file; sleep 1000'])
      await vm.start()
      await vm.waitFor({ exec: ['test', '-s', '/data/file'], timeoutMs: 10_000 })
      const copy = (await there.driver('containerd').importBundle(vm.exportBundle(), { name: 'carried' })) as unknown as typeof vm
      await copy.start()
      expect((await copy.exec(['cat', '/data/file'])).stdout).toBe('carried\n')
      await copy.delete({ force: true })
      await vm.delete({ force: true })
    })

    describe('with volumes', () => {
      const names = ['data-a', 'data-b']
      const volumes = [
        { name: 'data-a', target: '/a' },
        { name: 'data-b', target: '/b', readOnly: true },
      ]
      const filled = async () => {
        const vm = await here.create(
          { name: 'keeper', image: IMAGE, pull: 'never', command: ['sleep', '1000'], volumes, stop: { graceMs: 0 } },
          { driver: 'containerd' },
        )
        await vm.start()
        const fill = 'umask 077; mkdir /a/sub; echo within > /a/sub/file; ln -s file /a/sub/link; chown -R 1000:1000 /a; chmod 750 /a'
        expect((await vm.exec(['sh', '-c', fill])).exitCode).toBe(0)
        return vm
      }
      const look = 'cat /a/sub/link; stat -c "%u:%g %a" /a /a/sub/file; readlink /a/sub/link; ls /b; touch /b/x 2>/dev/null || echo kept'
      const seen = 'within\n1000:1000 750\n1000:1000 600\nfile\nkept\n'
      const drop = async (manager: typeof here) => {
        for (const name of names) await manager.driver('containerd').volumes.remove(name)
      }

      it('as a bundle, which overwrites none', { timeout: 60_000 }, async () => {
        const vm = await filled()
        const chunks: Uint8Array[] = []
        for await (const chunk of vm.exportBundle()) chunks.push(chunk)
        const bundle = Buffer.concat(chunks)
        expect((await vm.status()).state).toBe('running')
        const target = there.driver('containerd')
        const copy = (await target.importBundle(bundle)) as unknown as typeof vm
        await copy.start()
        expect((await copy.exec(['sh', '-c', look])).stdout).toBe(seen)
        const second = target.importBundle(bundle, { name: 'second' })
        await expect(second).rejects.toMatchObject({
          code: 'CONFLICT',
          field: 'config.volumes',
          message: expect.stringContaining('data-a'),
        })
        expect((await target.list()).map(({ name }) => name)).toEqual(['keeper'])
        await copy.delete({ force: true })
        // One that fails late takes its volumes along.
        await target.volumes.remove('data-a')
        await expect(target.importBundle(bundle)).rejects.toMatchObject({ code: 'CONFLICT', message: expect.stringContaining('data-b') })
        await target.volumes.remove('data-b')
        const broken = target.importBundle(bundle.subarray(0, bundle.length - 3000))
        await expect(broken).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
        expect(await target.volumes.list()).toEqual([])
        expect(await target.list()).toEqual([])
        await vm.delete({ force: true })
        await drop(here)
      })

      it('cold to another daemon, and not while it runs', { timeout: 60_000 }, async () => {
        const vm = await filled()
        await there.driver('containerd').volumes.create('data-b')
        await expect(vm.migrate(there.lookup('containerd'))).rejects.toMatchObject({ code: 'CONFLICT', field: 'config.volumes' })
        await there.driver('containerd').volumes.remove('data-b')
        expect((await vm.status()).state).toBe('running')
        const { vm: arrived } = await vm.migrate(there.lookup('containerd'))
        const moved = arrived as unknown as typeof vm
        expect((await moved.exec(['sh', '-c', look])).stdout).toBe(seen)
        if (moved.supports('migrate.live')) {
          await drop(here)
          await expect(moved.migrate(here.lookup('containerd'), { live: true })).rejects.toMatchObject({
            code: 'UNSUPPORTED',
            field: 'config.volumes',
          })
        }
        await moved.delete({ force: true })
        await drop(there)
        await drop(here).catch(() => undefined)
      })
    })

    it('of a folder, whose content is copied, snapshotted and carried', { timeout: 60_000 }, async () => {
      const rootfs = join(folder, 'rootfs')
      await cp('/bin/busybox', join(rootfs, 'bin/sh'))
      await symlink('sh', join(rootfs, 'bin/cat'))
      await writeFile(join(rootfs, 'told'), 'by a folder')
      const make = (changes: object = {}) =>
        here.create({ rootfs, command: ['/bin/sh', '-c', 'read x; exit 0'], ...changes }, { driver: 'containerd' })
      const vm = await make({ command: ['/bin/sh', '-c', 'echo more >> /told'] })
      await vm.start()
      expect((await vm.wait()).code).toBe(0)
      expect(await readFile(join(rootfs, 'told'), 'utf8')).toBe('by a folder')
      expect(await vm.files.readText('/told')).toBe('by a foldermore\n')
      await vm.snapshot('once')
      await vm.files.write('/told', 'again')
      await vm.restore('once')
      expect(await vm.files.readText('/told')).toBe('by a foldermore\n')
      const copy = (await there.driver('containerd').importBundle(vm.exportBundle())) as unknown as typeof vm
      expect(await copy.files.readText('/told')).toBe('by a foldermore\n')
      const twin = await make()
      expect(await twin.files.readText('/told')).toBe('by a folder')
      for (const each of [vm, copy, twin]) await each.delete({ force: true })
      await expect(make({ rootfs: join(rootfs, 'told') })).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.rootfs' })
      await expect(make({ rootfs: join(rootfs, 'nowhere') })).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.rootfs' })
      await expect(make({ command: undefined })).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.command' })
      expect(await here.driver('containerd').list()).toEqual([])
    })

    it('cold to another daemon', { timeout: 60_000 }, async () => {
      const vm = await create(['sh', '-c', 'echo $RANDOM >> /data/file; sleep 1000'])
      await vm.start()
      await vm.waitFor({ exec: ['test', '-s', '/data/file'], timeoutMs: 10_000 })
      const before = (await vm.exec(['cat', '/data/file'])).stdout
      const { vm: arrived, bytes, downtimeMs } = await vm.migrate(there.lookup('containerd'))
      const moved = arrived as unknown as typeof vm
      expect(bytes).toBeGreaterThan(0)
      expect(downtimeMs).toBeGreaterThan(0)
      expect((await moved.exec(['head', '-n', '1', '/data/file'])).stdout).toBe(before)
      await moved.delete({ force: true })
    })

    it('with its memory: back to a snapshot, as a clone, and live to another daemon', { timeout: 90_000 }, async ({ skip }) => {
      const vm = await create(TICK)
      const { missing } = await here.driver('containerd').probe()
      if (!vm.supports('snapshot.memory') || !vm.supports('migrate.live')) {
        expect(missing['snapshot.memory']).toMatch(/CRIU/)
        await vm.delete()
        return skip(`no CRIU: ${missing['snapshot.memory']}`)
      }
      await vm.start()
      await vm.waitFor({ log: 'tick 5', timeoutMs: 10_000 })
      const count = async (machine: typeof vm) => {
        const [own = '', ticks = ''] = (await machine.exec(['cat', '/data/count'])).stdout.trim().split(' ')
        return { own, ticks: Number(ticks) }
      }
      const before = await count(vm)
      await vm.snapshot('warm', { memory: true })
      expect((await vm.status()).state).toBe('running')
      await vm.exec(['touch', '/data/later'])
      await vm.restore('warm')
      expect((await vm.status()).state).toBe('running')
      expect((await vm.exec(['test', '-e', '/data/later'])).exitCode).toBe(1)
      const copy = (await vm.clone('warm', { onDispose: 'detach' })) as typeof vm
      expect((await copy.status()).state).toBe('running')
      for (const each of [vm, copy]) {
        const now = await count(each)
        expect(now.own).toBe(before.own)
        expect(now.ticks).toBeGreaterThanOrEqual(before.ticks)
      }
      await copy.delete({ force: true })
      await vm.deleteSnapshot('warm')
      const last = await count(vm)
      const { vm: moved } = await vm.migrate(there.lookup('containerd'), { live: true })
      const arrived = await count(moved as unknown as typeof vm)
      expect(arrived.own).toBe(before.own)
      expect(arrived.ticks).toBeGreaterThanOrEqual(last.ticks)
      await moved.delete({ force: true })
    })
  })
}
