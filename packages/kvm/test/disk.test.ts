import { execFile } from 'node:child_process'
import { mkdir, readdir, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { createDisk, inspectDisk } from '../src/disk/image-file.js'
import { addLayer, bytesOf, chainOf, dropUnusedLayers, shareLayers } from '../src/disk/layers.js'
import { backingChain, flatten } from '../src/disk/qemu-img.js'
import { missingQemu, temporaryFolder } from './bare-qemu.js'

const run = promisify(execFile)
const { signal } = new AbortController()
const MiB = 2 ** 20
const HOSTILE = ['a,b.raw', 'with space "and" \'quotes\'.raw', '-leading.raw', 'json:{}.raw', 'nbd:x:1.raw', `${'n'.repeat(200)}.raw`]

describe.skipIf(missingQemu)(`disks${missingQemu ? `: ${missingQemu}` : ''}`, () => {
  it.each([1, 512, 512 * MiB + 512, 2048 * MiB, 5 * 2 ** 40])('an empty disk of %i bytes is sound for qemu-img', async (size) => {
    using folder = temporaryFolder()
    const path = join(folder.path, 'disk.qcow2')
    await createDisk({ path, size })
    await run('qemu-img', ['check', path])
    const [top] = await backingChain(path, 'qcow2', signal)
    expect(top?.virtualSize).toBe(Math.ceil(size / 512) * 512)
    expect(await inspectDisk(path, 'config.disk.image')).toMatchObject({ format: 'qcow2', virtualSize: top?.virtualSize })
  })

  it.each(HOSTILE)('an overlay reads its base %j', async (name) => {
    using folder = temporaryFolder()
    const base = join(folder.path, name)
    await writeFile(base, 'WhatTheBaseHolds')
    await truncate(base, MiB)
    const image = await inspectDisk(base, 'config.disk.image')
    expect(image).toMatchObject({ format: 'raw', virtualSize: MiB })
    const path = join(folder.path, 'disk.qcow2')
    await createDisk({ path, base: image, size: 2 * MiB })
    const flat = join(folder.path, 'out,flat.qcow2')
    await flatten({ path, format: 'qcow2' }, flat, {}, signal)
    const { stdout } = await run('qemu-io', ['-r', '-f', 'qcow2', '-c', 'read -v 0 32', flat])
    expect(stdout).toContain('WhatTheBaseHolds')
    expect((await backingChain(flat, 'qcow2', signal)).length).toBe(1)
    expect((await backingChain(path, 'qcow2', signal)).map(({ virtualSize }) => virtualSize)).toEqual([2 * MiB, MiB])
  })

  it('are refused when they are smaller than their base, no disk image, or not there', async () => {
    using folder = temporaryFolder()
    const at = (name: string) => join(folder.path, name)
    await createDisk({ path: at('base.qcow2'), size: MiB })
    const base = await inspectDisk(at('base.qcow2'), 'config.disk.image')
    await expect(createDisk({ path: at('small.qcow2'), base, size: 512 })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      field: 'config.disk.size',
    })
    await expect(createDisk({ path: at('base.qcow2'), size: MiB })).rejects.toMatchObject({ driver: 'kvm' })
    expect(await inspectDisk(at('base.qcow2'), 'config.disk.image'), 'the one that was there is whole').toEqual(base)
    await writeFile(at('x.vmdk'), 'KDMV')
    await expect(inspectDisk(at('x.vmdk'), 'config.disk.image')).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    await expect(inspectDisk(folder.path, 'config.disk.image')).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    await expect(inspectDisk(at('none'), 'config.disk.image')).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' })
    expect((await readdir(folder.path)).sort()).toEqual(['base.qcow2', 'x.vmdk'])
  })

  it('keep a layer for as long as a machine stands on it', async () => {
    using folder = temporaryFolder()
    const [one, two] = [join(folder.path, 'one'), join(folder.path, 'two')]
    await mkdir(one)
    await mkdir(two)
    await createDisk({ path: join(one, 'disk.qcow2'), size: MiB })
    await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 65 0 512', join(one, 'disk.qcow2')])
    const frozen = await addLayer(one, 'disk', 'disk.qcow2')
    const top = await addLayer(one, 'disk', frozen)
    expect((await chainOf(one, top)).layers).toEqual([top, frozen, 'disk.qcow2'])

    await shareLayers(one, frozen, two)
    const cloned = await addLayer(two, 'disk', frozen)
    await dropUnusedLayers(one, [])
    expect(await readdir(one)).toEqual([])
    const { stdout } = await run('qemu-io', ['-f', 'qcow2', '-c', 'read -v -P 65 0 512', join(two, cloned)])
    expect(stdout).toContain('AAAAAAAA')
    await dropUnusedLayers(two, ['disk.qcow2'])
    expect(await readdir(two)).toEqual(['disk.qcow2'])
  })

  it('are cloned without a copy, whatever their size: how long it takes is measured by the bench', async () => {
    using folder = temporaryFolder()
    const sizes = await Promise.all(
      [2, 2048].map(async (size) => {
        const name = `disk-${size}.qcow2`
        await createDisk({ path: join(folder.path, name), size: size * MiB })
        return bytesOf(folder.path, [await addLayer(folder.path, 'disk', name)])
      }),
    )
    expect(sizes[1]).toBe(sizes[0])
    expect(sizes[1]).toBeLessThan(512 * 1024)
  })
})
