import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { makeRoot } from './guest-root.js'
import { bench, capable, requireQemu } from './support.js'

const hasQemu = await requireQemu()

describe.skipIf(!hasQemu)(`volumes${hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'}`, () => {
  const root = makeRoot()
  const folder = mkdtempSync(join(tmpdir(), 'vmkit-kvm-volumes-'))
  afterAll(() => {
    for (const path of [root, folder]) rmSync(path, { recursive: true })
  })
  const idle = { rootfs: root, memory: '160MiB', command: ['/bin/sh', '-c', 'exec sleep 100000'] }

  it('are shared by machines that run, and are the same ones after all are gone', { timeout: 180_000 }, async () => {
    await using machines = bench()
    const driver = machines.manager.driver('kvm')
    await driver.probe()
    if (!driver.supports('volumes')) throw new Error(driver.missing.volumes)
    const { volumes } = driver
    await volumes.create('made', { labels: { purpose: 'test' } })
    const mounted = (readOnly = false) => [
      { name: 'made', target: '/made', readOnly },
      { name: 'new', target: '/new' },
    ]
    const one = await machines.create({ ...idle, volumes: mounted() })
    const two = await machines.create({ ...idle, volumes: mounted(true) })
    await Promise.all([one.start(), two.start()])
    await capable(one).exec(['sh', '-c', 'echo "from one" > /made/file; echo new > /new/file'])
    expect((await capable(two).exec(['cat', '/made/file', '/new/file'])).stdout).toBe('from one\nnew\n')
    const written = await capable(two).exec(['sh', '-c', 'echo changed > /made/file'])
    expect(written.exitCode, 'read-only').not.toBe(0)
    expect(readFileSync(join(machines.stateDir, 'volumes/made/data/file'), 'utf8')).toBe('from one\n')
    await expect(volumes.remove('made')).rejects.toMatchObject({ code: 'CONFLICT', vmId: expect.any(String) })
    expect(one.supports('snapshot.memory')).toBe(false)
    await one.delete({ force: true })
    await two.delete({ force: true })
    expect((await volumes.list()).map(({ name, labels }) => [name, labels]).sort()).toEqual([
      ['made', { purpose: 'test' }],
      ['new', {}],
    ])
    await volumes.remove('made')
    await volumes.remove('new')
    expect(readdirSync(join(machines.stateDir, 'volumes'))).toEqual([])
    expect(readdirSync(join(machines.stateDir, 'trash'))).toEqual([])
  })

  it('go along in a bundle, and to another host, with all that is in them', { timeout: 180_000 }, async () => {
    await using here = bench()
    await using there = bench()
    await using elsewhere = bench()
    const vm = await here.create({
      ...idle,
      name: 'moving',
      volumes: [
        { name: 'data', target: '/data' },
        { name: 'empty', target: '/empty' },
      ],
    })
    await vm.start()
    const fill = 'mkdir -p /data/sub && echo kept > /data/sub/file && ln -s /etc/passwd /data/link && chmod 640 /data/sub/file && sync'
    expect(await capable(vm).exec(['sh', '-c', fill])).toMatchObject({ exitCode: 0 })
    if (!vm.supports('bundle') || !vm.supports('migrate.cold')) throw new Error(JSON.stringify(vm.missing))
    const bundle: Uint8Array[] = []
    for await (const chunk of vm.exportBundle()) bundle.push(chunk)
    expect((await vm.status()).state, 'it stood still, and goes on').toBe('running')
    await capable(vm).exec(['sh', '-c', 'echo later > /data/sub/file'])
    await vm.stop({ graceMs: 0 })
    const { vm: moved } = await vm.migrate(there.manager.driver('kvm'))
    const read = (place: { stateDir: string }, path: string): string =>
      readFileSync(join(place.stateDir, 'volumes/data/data', path), 'utf8')
    expect(read(there, 'sub/file')).toBe('later\n')
    await moved.start()
    expect((await capable(moved as typeof vm).exec(['sh', '-c', 'cat /data/sub/file; ls /empty; readlink /data/link'])).stdout).toBe(
      'later\n/etc/passwd\n',
    )
    const from = async function* () {
      yield* bundle
    }
    const able = async (place: typeof here) => {
      const driver = place.manager.driver('kvm')
      await driver.probe()
      if (!driver.supports('volumes') || !driver.supports('bundle')) throw new Error(JSON.stringify(driver.missing))
      return driver
    }
    const volumes = async (place: typeof here): Promise<string[]> =>
      (await (await able(place)).volumes.list()).map(({ name }) => name).sort()
    for (const place of [here, there]) {
      await expect((await able(place)).importBundle(from(), { name: 'again' })).rejects.toMatchObject({ code: 'CONFLICT' })
      expect(await volumes(place)).toEqual(['data', 'empty'])
    }
    await (await able(elsewhere)).importBundle(from())
    expect(await volumes(elsewhere)).toEqual(['data', 'empty'])
    expect(read(elsewhere, 'sub/file'), 'what it was when the bundle was made').toBe('kept\n')
    expect(statSync(join(elsewhere.stateDir, 'volumes/data/data/sub/file')).mode & 0o777).toBe(0o640)
    expect(readlinkSync(join(elsewhere.stateDir, 'volumes/data/data/link'))).toBe('/etc/passwd')
    for (const place of [there, elsewhere]) {
      const [id = ''] = readdirSync(join(place.stateDir, 'machines'))
      expect(readdirSync(join(place.stateDir, 'machines', id)).filter((name) => name.startsWith('volume'))).toEqual([])
    }
  })

  it('are refused where nobody mounts them, and nothing is made', async () => {
    await using machines = bench()
    const disk = join(folder, 'disk.img')
    writeFileSync(disk, Buffer.alloc(2 ** 20))
    const config = { disk: { image: disk }, volumes: [{ name: 'unmounted', target: '/data' }] }
    await expect(machines.create(config)).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'config.volumes' })
    await expect(machines.create({ ...config, volumes: [{ name: '../out', target: '/data' }] })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
    })
    expect(existsSync(join(machines.stateDir, 'volumes'))).toBe(false)
  })
})
