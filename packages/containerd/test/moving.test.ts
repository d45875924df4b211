/** Machines that move: as a bundle, and to another daemon. */
import { cp, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { forEachPair } from './pairs.js'

forEachPair('moving', (pair) => {
  it('as a bundle to another daemon, which has not its image', { timeout: 60_000 }, async () => {
    const vm = await pair.create(['sh', '-c', 'echo carried > /data/file; sleep 1000'])
    await vm.start()
    await vm.waitFor({ exec: ['test', '-s', '/data/file'], timeoutMs: 10_000 })
    const copy = (await pair.there.driver('containerd').importBundle(vm.exportBundle(), { name: 'carried' })) as unknown as typeof vm
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
      const vm = await pair.create(['sleep', '1000'], { name: 'keeper', volumes, stop: { graceMs: 0 } })
      await vm.start()
      const fill = 'umask 077; mkdir /a/sub; echo within > /a/sub/file; ln -s file /a/sub/link; chown -R 1000:1000 /a; chmod 750 /a'
      expect((await vm.exec(['sh', '-c', fill])).exitCode).toBe(0)
      return vm
    }
    const look = 'cat /a/sub/link; stat -c "%u:%g %a" /a /a/sub/file; readlink /a/sub/link; ls /b; touch /b/x 2>/dev/null || echo kept'
    const seen = 'within\n1000:1000 750\n1000:1000 600\nfile\nkept\n'
    const drop = async (manager: typeof pair.here) => {
      for (const name of names) await manager.driver('containerd').volumes.remove(name)
    }

    it('as a bundle, which overwrites none', { timeout: 60_000 }, async () => {
      const vm = await filled()
      const chunks: Uint8Array[] = []
      for await (const chunk of vm.exportBundle()) chunks.push(chunk)
      const bundle = Buffer.concat(chunks)
      expect((await vm.status()).state).toBe('running')
      const target = pair.there.driver('containerd')
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
      await drop(pair.here)
    })

    it('cold to another daemon, which overwrites none', { timeout: 60_000 }, async () => {
      const vm = await filled()
      await pair.there.driver('containerd').volumes.create('data-b')
      await expect(vm.migrate(pair.there.lookup('containerd'))).rejects.toMatchObject({ code: 'CONFLICT', field: 'config.volumes' })
      await pair.there.driver('containerd').volumes.remove('data-b')
      expect((await vm.status()).state).toBe('running')
      const { vm: arrived } = await vm.migrate(pair.there.lookup('containerd'))
      const moved = arrived as unknown as typeof vm
      expect((await moved.exec(['sh', '-c', look])).stdout).toBe(seen)
      await moved.delete({ force: true })
      await drop(pair.there)
      // What stays is that of the source, where others may use it too.
      await drop(pair.here)
    })
  })

  it('of a folder, whose content is copied, snapshotted and carried', { timeout: 60_000 }, async () => {
    const rootfs = join(pair.folder, 'rootfs')
    await cp('/bin/busybox', join(rootfs, 'bin/sh'))
    await symlink('sh', join(rootfs, 'bin/cat'))
    await writeFile(join(rootfs, 'told'), 'by a folder')
    const make = (changes: object = {}) =>
      pair.here.create({ rootfs, command: ['/bin/sh', '-c', 'read x; exit 0'], ...changes }, { driver: 'containerd' })
    const vm = await make({ command: ['/bin/sh', '-c', 'echo more >> /told'] })
    await vm.start()
    expect((await vm.wait()).code).toBe(0)
    expect(await readFile(join(rootfs, 'told'), 'utf8')).toBe('by a folder')
    expect(await vm.files.readText('/told')).toBe('by a foldermore\n')
    await vm.snapshot('once')
    await vm.files.write('/told', 'again')
    await vm.restore('once')
    expect(await vm.files.readText('/told')).toBe('by a foldermore\n')
    const copy = (await pair.there.driver('containerd').importBundle(vm.exportBundle())) as unknown as typeof vm
    expect(await copy.files.readText('/told')).toBe('by a foldermore\n')
    const twin = await make()
    expect(await twin.files.readText('/told')).toBe('by a folder')
    for (const each of [vm, copy, twin]) await each.delete({ force: true })
    await expect(make({ rootfs: join(rootfs, 'told') })).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.rootfs' })
    await expect(make({ rootfs: join(rootfs, 'nowhere') })).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.rootfs' })
    await expect(make({ command: undefined })).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.command' })
    expect(await pair.here.driver('containerd').list()).toEqual([])
  })

  it('cold to another daemon', { timeout: 60_000 }, async () => {
    const vm = await pair.create(['sh', '-c', 'echo $RANDOM >> /data/file; sleep 1000'])
    await vm.start()
    await vm.waitFor({ exec: ['test', '-s', '/data/file'], timeoutMs: 10_000 })
    const before = (await vm.exec(['cat', '/data/file'])).stdout
    const { vm: arrived, bytes, downtimeMs } = await vm.migrate(pair.there.lookup('containerd'))
    const moved = arrived as unknown as typeof vm
    expect(bytes).toBeGreaterThan(0)
    expect(downtimeMs).toBeGreaterThan(0)
    expect((await moved.exec(['head', '-n', '1', '/data/file'])).stdout).toBe(before)
    await moved.delete({ force: true })
  })
})
