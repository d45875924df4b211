import { chmodSync, chownSync, createReadStream, createWriteStream, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { imageFromFolder, writeArchive, writeLayout } from '@vmkit/oci'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeRoot } from './guest-root.js'
import { ownCache } from './kit-images.js'
import { bench, requireQemu } from './support.js'

const hasQemu = await requireQemu()

describe.skipIf(!hasQemu)(`an OCI image as a machine${hasQemu ? '' : ' (not run: no QEMU; scripts/backends up installs it)'}`, () => {
  const root = makeRoot()
  const work = mkdtempSync(join(tmpdir(), 'vmkit-kvm-image-'))
  const layout = join(work, 'layout')
  beforeAll(async () => {
    writeFileSync(join(root, 'bin/mine'), '#!/bin/sh\necho "$0 $*: $(id -u):$(id -g) in $PWD, $GREETING"\nls -n /bin/mine\n')
    chownSync(join(root, 'bin/mine'), 1000, 2000)
    // Afterwards: a change of owner takes the set-uid bit away.
    chmodSync(join(root, 'bin/mine'), 0o4755)
    await using image = await imageFromFolder(root, {
      reference: 'example.com/mine:1',
      config: {
        Entrypoint: ['/bin/mine', 'one'],
        Cmd: ['two'],
        Env: ['GREETING=hello', 'KEPT=yes'],
        User: 'app',
        WorkingDir: '/srv/made',
        StopSignal: 'SIGUSR1',
      },
    })
    await writeLayout(layout, image)
  })
  afterAll(() => {
    for (const folder of [root, work]) rmSync(folder, { recursive: true })
  })

  it('runs what the image says, and what the config says instead', { timeout: 240_000 }, async () => {
    await using machines = bench({ cacheDir: ownCache(join(work, 'cache')) })
    const vm = await machines.create({
      name: 'image',
      image: layout,
      memory: '128MiB',
      args: ['three'],
      env: { GREETING: 'good day' },
      disk: { size: '3GiB' },
    })
    await vm.start()
    expect((await vm.wait()).code).toBe(0)
    const lines: string[] = []
    for await (const { text } of vm.logs()) lines.push(text)
    expect(lines[0]).toBe('/bin/mine one three: 1000:1000 in /srv/made, good day')
    expect(lines[1]).toMatch(/^-rwsr-xr-x +1 1000 +2000 /)
    const bigger = await machines.create({
      name: 'bigger',
      image: layout,
      memory: '128MiB',
      command: ['sh', '-c', 'trap "exit 42" USR1; df -m / | tail -1; while :; do sleep 1 & wait $!; done'],
      disk: { size: '3GiB' },
    })
    await bigger.start()
    await bigger.waitFor({ log: /\//, timeoutMs: 60_000 })
    await bigger.stop({ graceMs: 60_000 })
    expect((await bigger.info()).exit).toMatchObject({ code: 42 })
    const sizes: string[] = []
    for await (const { text } of bigger.logs()) sizes.push(text)
    expect(Number(sizes[0]?.trim().split(/\s+/)[1])).toBeGreaterThan(2800)
  })

  it('is made of an archive, by its path or by its name, and is not removed while a machine uses it', { timeout: 120_000 }, async () => {
    const cacheDir = ownCache(join(work, 'archived'))
    await using machines = bench({ cacheDir })
    const driver = machines.manager.driver('kvm')
    await driver.probe()
    if (!driver.supports('images')) throw new Error(driver.missing.images)
    const archive = join(work, 'saved.tar')
    await using image = await imageFromFolder(root, { reference: 'example.com/saved:1', config: { Cmd: ['sh'] } })
    await pipeline(writeArchive(image), createWriteStream(archive))
    const byPath = await machines.create({ name: 'path', image: archive })
    const { reference } = await driver.images.import(createReadStream(archive))
    const byName = await machines.create({ name: 'name', image: reference, pull: 'never' })
    await expect(driver.images.remove(reference)).rejects.toMatchObject({ code: 'CONFLICT' })
    await byName.delete()
    await byPath.delete()
    await driver.images.remove(reference)
    expect(await driver.images.list()).toEqual([])
    expect(readdirSync(join(cacheDir, 'disks'))).toEqual([])
  })
})
