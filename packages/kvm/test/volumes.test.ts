import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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
    expect(one.missing['migrate.cold']).toContain('volumes')
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
