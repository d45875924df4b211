/** Bundles with volumes, between engines and from other drivers; images as OCI layout folders. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { imageFromFolder, openArchive, readBundle, writeBundle, writeLayout } from '@vmkit/oci'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { engineSocket, ensureImage, IMAGE, raw, saveImage } from './engine.js'
import { containerNames, type DockerManager, idle, managerOf, prepare, requireEngine, socketPath, why } from './support.js'

const nextSocket = engineSocket('VMKIT_DOCKER_NEXT_SOCKET', false)
const volumes = [
  { name: 'vmkit-test-bundle-a', target: '/a' },
  { name: 'vmkit-test-bundle-b', target: '/b', readOnly: true },
]

describe.skipIf(!requireEngine())(`bundles and layouts${why}`, () => {
  let manager: DockerManager
  let folder: string
  beforeAll(async () => {
    await prepare()
    folder = await mkdtemp(join(tmpdir(), 'vmkit-docker-test-'))
    manager = managerOf()
  })
  afterAll(async () => {
    await manager.close()
    await rm(folder, { recursive: true })
  })
  const handle = () => manager.driver('docker')

  it.skipIf(nextSocket === undefined)('carries the contents of volumes to another engine', async () => {
    await ensureImage(nextSocket as string)
    const other = managerOf({ socketPath: nextSocket })
    const target = other.driver('docker')
    await using vm = await handle().create(idle({ name: 'vmkit-test-carried', volumes }))
    await vm.files.write('/a/file', 'in a volume')
    await vm.files.write('/data/file', 'on the disk')
    const bundle = await bytesOf(vm.exportBundle())
    const copy = await target.get((await target.importBundle(bundle)).id)
    await copy.start()
    expect((await copy.exec(['sh', '-c', 'cat /a/file /data/file; ls /b'])).stdout).toBe('in a volumeon the disk')
    expect((await copy.info()).config.volumes).toMatchObject(volumes)
    // What is there already would be overwritten.
    await expect(target.importBundle(bundle, { name: 'vmkit-test-second' })).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining('vmkit-test-bundle-a'),
    })
    expect((await target.list()).map(({ name }) => name)).not.toContain('vmkit-test-second')
    await copy.delete({ force: true })
    for (const { name } of volumes) await target.volumes.remove(name)
    expect(await references(nextSocket as string)).not.toEqual(expect.arrayContaining([expect.stringMatching(/^vmkit-base\//)]))
    await other.close()
    await vm.delete({ force: true })
    for (const { name } of volumes) await handle().volumes.remove(name)
  })

  it('an import that fails late leaves neither image, volume nor helper', async () => {
    await using vm = await handle().create(idle({ name: 'vmkit-test-late', volumes }))
    const bundle = await bytesOf(vm.exportBundle())
    await vm.delete()
    for (const { name } of volumes) await handle().volumes.remove(name)
    const before = [await references(socketPath as string), await containerNames()]
    await using holder = await handle().create(idle({ name: 'vmkit-test-late' }))
    await expect(handle().importBundle(bundle)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await holder.delete()
    expect([await references(socketPath as string), await containerNames()]).toEqual(before)
    expect((await handle().volumes.list()).filter(({ name }) => name.startsWith('vmkit-test-bundle'))).toEqual([])
  })

  it('runs a bundle of another driver, and its image goes with the machine', async () => {
    const before = await references(socketPath as string)
    await using image = await openArchive(saveImage(socketPath as string, IMAGE))
    const stored = await exportedConfig(handle())
    const config = { ...stored, name: 'vmkit-test-foreign', command: ['sh', '-c', 'echo from elsewhere'] }
    const made = await handle().importBundle(await bytesOf(writeBundle({ driver: 'containerd', config, image })))
    const vm = await handle().get(made.id)
    await vm.start()
    await vm.wait()
    const texts: string[] = []
    for await (const { text } of vm.logs()) texts.push(text)
    expect(texts).toEqual(['from elsewhere'])
    await vm.delete()
    expect(await references(socketPath as string)).toEqual(before)
  })

  it('refuses what it would drop, and a bundle of a disk, before anything is made', async () => {
    const before = [await references(socketPath as string), await containerNames()]
    await using image = await openArchive(saveImage(socketPath as string, IMAGE))
    const config = { ...(await exportedConfig(handle())), name: 'vmkit-test-refused' }
    const file = { size: 1, read: () => once('x') }
    const cases: [Parameters<typeof writeBundle>[0], string][] = [
      [{ driver: 'kvm', config: { ...config, cloudInit: { userData: '#cloud-config' } }, image }, 'config.cloudInit'],
      [{ driver: 'kvm', config, image, files: { 'memory.state': file } }, 'bundle'],
      [{ driver: 'kvm', config, files: { 'disk.qcow2': file } }, 'bundle'],
    ]
    for (const [content, field] of cases)
      await expect(handle().importBundle(await bytesOf(writeBundle(content)))).rejects.toMatchObject({ code: 'UNSUPPORTED', field })
    expect([await references(socketPath as string), await containerNames()]).toEqual(before)
  })

  it('runs an image that is the folder of an OCI layout', async () => {
    const layout = join(folder, 'layout')
    await using image = await openArchive(saveImage(socketPath as string, IMAGE))
    await writeLayout(layout, image, { reference: 'vmkit-test/layout:1' })
    await using vm = await handle().create(idle({ image: layout, command: ['sh', '-c', 'echo from a layout'] }))
    await vm.start()
    await vm.wait()
    const texts: string[] = []
    for await (const { text } of vm.logs()) texts.push(text)
    expect(texts).toEqual(['from a layout'])
    await vm.delete()
    await handle().images.remove('vmkit-test/layout:1')
  })

  it('a folder that is no layout, and one that is broken, is INVALID_CONFIG', async () => {
    const before = await references(socketPath as string)
    const rootfs = join(folder, 'rootfs')
    await mkdir(rootfs)
    await writeFile(join(rootfs, 'file'), 'x'.repeat(5000))
    await expect(handle().create(idle({ image: rootfs }))).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.image' })
    const broken = join(folder, 'broken')
    await using image = await imageFromFolder(rootfs)
    await writeLayout(broken, image)
    const [layer] = image.manifest.layers
    await writeFile(join(broken, 'blobs/sha256', layer?.digest.replace('sha256:', '') ?? ''), 'y'.repeat(layer?.size ?? 0))
    await expect(handle().create(idle({ image: broken }))).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    expect(await references(socketPath as string)).toEqual(before)
  })
})

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

/** A config as bundles have it. */
async function exportedConfig(handle: ReturnType<DockerManager['driver']>) {
  await using vm = await handle.create(idle())
  await using bundle = await readBundle(vm.exportBundle())
  return bundle.config
}

async function references(socket: string): Promise<string[]> {
  const images = JSON.parse((await raw(socket, 'GET', '/images/json')).body) as { RepoTags: string[] | null }[]
  return images.flatMap(({ RepoTags }) => RepoTags ?? ['none']).sort()
}
