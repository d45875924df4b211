/** Layouts, archives and folders: what is written can be read again, and what is broken is refused. */
import { execFileSync } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  ANNOTATIONS,
  digestOf,
  type ImageSource,
  imageFromFolder,
  layerTar,
  MEDIA_TYPES,
  openArchive,
  openImage,
  openLayout,
  unpackImage,
  writeArchive,
  writeLayout,
} from '../src/index.js'
import { collect, described, file, folder, listing, makeImage, openMade, pieces, tarOf, temporary, zstdStored } from './support.js'

let work: Awaited<ReturnType<typeof temporary>>
let rootfs: string
let image: ImageSource
const at = (...parts: string[]) => join(work.path, ...parts)

beforeEach(async () => {
  work = await temporary()
  rootfs = at('rootfs')
  await mkdir(join(rootfs, 'bin'), { recursive: true })
  await writeFile(join(rootfs, 'bin/run'), '#!/bin/sh\n', { mode: 0o755 })
  execFileSync('ln', [join(rootfs, 'bin/run'), join(rootfs, 'again')])
  execFileSync('ln', ['-s', 'bin/run', join(rootfs, 'link')])
  image = await imageFromFolder(rootfs, { reference: 'team/app:1', config: { Cmd: ['/bin/run'], Env: ['A=b'] }, platform: 'linux/amd64' })
})
afterEach(async () => {
  await image.close()
  await work[Symbol.asyncDispose]()
})

async function expectSame(opened: ImageSource, reference: string | undefined = 'docker.io/team/app:1'): Promise<void> {
  await using source = opened
  expect(source.reference).toBe(reference)
  expect(source.config).toMatchObject({ architecture: 'amd64', config: { Cmd: ['/bin/run'], Env: ['A=b'] } })
  const target = at('unpacked')
  await unpackImage(source, target, { ownership: process.getuid?.() === 0 ? 'apply' : 'record' })
  expect(listing(target)).toEqual(listing(rootfs))
  execFileSync('rm', ['-rf', target])
}

describe('an image of a folder', () => {
  it('has all that the folder has, and the same digest each time', async () => {
    await expectSame(image)
    await using again = await imageFromFolder(rootfs, { config: { Cmd: ['/bin/run'], Env: ['A=b'] }, platform: 'linux/amd64' })
    expect(again.descriptor.digest).toBe(image.descriptor.digest)
  })

  it('can be compressed, and belong to root', async () => {
    await using source = await imageFromFolder(rootfs, { compression: 'gzip', ownership: 'root' })
    expect(source.manifest.layers[0]?.mediaType).toBe(MEDIA_TYPES.layerGzip)
    const { records } = await unpackImage(source, at('out'), { ownership: 'record' })
    expect(new Set(records.map(({ uid, gid }) => `${uid}:${gid}`))).toEqual(new Set(['0:0']))
  })

  it('leaves no temporary file', async () => {
    const { TMPDIR } = process.env
    process.env.TMPDIR = at('tmp')
    await mkdir(at('tmp'))
    try {
      const source = await imageFromFolder(rootfs)
      expect(await readdir(at('tmp'))).toHaveLength(1)
      await source.close()
      await expect(imageFromFolder(at('none'))).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
      await expect(openArchive(pieces(Buffer.from('no tar')))).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
      await expect(openArchive(pieces(gzipSync('no tar')))).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
      await expect(openArchive(pieces(gzipSync('no tar').subarray(0, -4)))).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
      expect(await readdir(at('tmp'))).toEqual([])
    } finally {
      if (TMPDIR === undefined) delete process.env.TMPDIR
      else process.env.TMPDIR = TMPDIR
    }
  })
})

describe('a layout', () => {
  it('is written and read again', async () => {
    await writeLayout(at('layout'), image)
    await expectSame(await openLayout(at('layout')))
    await expectSame(await openImage(at('layout')))
    await expectSame(await openImage(`oci:${at('layout')}:1`))
  })

  it('is written into an empty folder only, whole or not at all', async () => {
    await mkdir(at('full', 'x'), { recursive: true })
    await expect(writeLayout(at('full'), image)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(await readdir(at('full'))).toEqual(['x'])
    const broken = makeImage([await tarOf(file('a'))])
    const [digest = ''] = broken.blobs.keys()
    const source = await openMade(broken)
    broken.blobs.delete(digest)
    await expect(writeLayout(at('new', 'deep'), source)).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    expect(await readdir(work.path)).toEqual(['full', 'rootfs'])
  })

  it('with several images wants a name, and knows it in every form', async () => {
    await writeLayout(at('layout'), image)
    const index = JSON.parse(await readFile(at('layout', 'index.json'), 'utf8'))
    const other = makeImage([await tarOf(file('other'))])
    for (const [digest, bytes] of other.blobs) await writeFile(at('layout', 'blobs', ...digest.split(':')), bytes)
    index.manifests.push({ ...other.manifest, annotations: { [ANNOTATIONS.refName]: 'other' } })
    await writeFile(at('layout', 'index.json'), JSON.stringify(index))
    await expect(openLayout(at('layout'))).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining('docker.io/team/app:1, other'),
    })
    await expect(openLayout(at('layout'), { reference: 'none' })).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' })
    for (const reference of ['team/app:1', 'docker.io/team/app:1', '1']) await expectSame(await openLayout(at('layout'), { reference }))
    expect((await openLayout(at('layout'), { reference: 'other' })).descriptor.digest).toBe(other.manifest.digest)
  })

  it('has the image of the platform', async () => {
    const amd = makeImage([await tarOf(file('amd'))])
    const arm = makeImage([await tarOf(file('arm'))], 'gzip', { architecture: 'arm64', variant: 'v8' })
    const list = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.dockerList,
      manifests: [
        { ...amd.manifest, platform: { os: 'linux', architecture: 'amd64' } },
        { ...arm.manifest, platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } },
      ],
    }
    const bytes = Buffer.from(JSON.stringify(list))
    const root = described(bytes, MEDIA_TYPES.dockerList)
    const blobs = new Map([...amd.blobs, ...arm.blobs, [root.digest, bytes]])
    await mkdir(at('layout', 'blobs', 'sha256'), { recursive: true })
    for (const [digest, blob] of blobs) await writeFile(at('layout', 'blobs', ...digest.split(':')), blob)
    await writeFile(at('layout', 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
    await writeFile(at('layout', 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [root] }))
    const source = await openLayout(at('layout'), { platform: 'linux/arm64' })
    expect(source.descriptor.digest).toBe(arm.manifest.digest)
    expect(source.documents.map(({ descriptor }) => descriptor.digest)).toEqual([
      root.digest,
      arm.manifest.digest,
      source.manifest.config.digest,
    ])
    await expect(openLayout(at('layout'), { platform: 'linux/riscv64' })).rejects.toMatchObject({
      code: 'IMAGE_NOT_FOUND',
      message: expect.stringContaining('linux/amd64, linux/arm64/v8'),
    })
  })

  it.each<[string, (layout: string) => Promise<unknown>, string]>([
    ['no marker', (layout) => writeFile(join(layout, 'oci-layout'), '{}'), 'version'],
    ['an index that is no JSON', (layout) => writeFile(join(layout, 'index.json'), '{'), 'no JSON'],
    [
      'an index without manifests',
      (layout) => writeFile(join(layout, 'index.json'), '{"manifests":[{"digest":"sha256:../../x"}]}'),
      'no usable list',
    ],
    ['another config', (layout) => writeFile(join(layout, 'blobs', ...image.manifest.config.digest.split(':')), '{}'), 'bytes'],
    [
      'a changed manifest',
      async (layout) => {
        const path = join(layout, 'blobs', ...image.descriptor.digest.split(':'))
        await writeFile(path, (await readFile(path, 'utf8')).replace('2', '3'))
      },
      'has the digest',
    ],
  ])('is refused with %s', async (_, spoil, words) => {
    await writeLayout(at('layout'), image)
    await spoil(at('layout'))
    await expect(openLayout(at('layout'))).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      field: 'config.image',
      message: expect.stringContaining(words),
    })
  })

  it('with a layer cut off opens, and fails when it is read', async () => {
    await writeLayout(at('layout'), image)
    const [layer] = image.manifest.layers
    await truncate(at('layout', 'blobs', ...(layer?.digest ?? '').split(':')), 1000)
    const source = await openLayout(at('layout'))
    await expect(unpackImage(source, at('out'), { ownership: 'record' })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    expect(await readdir(work.path)).not.toContain('out')
  })

  it('that is no layout is refused', async () => {
    await expect(openImage(rootfs)).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'config.image' })
    await expect(openImage(at('none'))).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  })
})

describe('an archive', () => {
  const archive = async () => collect(writeArchive(image))

  it('is read from a file, a stream, and compressed', async () => {
    const tar = await archive()
    await writeFile(at('a.tar'), tar)
    await expectSame(await openArchive(at('a.tar')))
    await expectSame(await openImage(at('a.tar')))
    await expectSame(await openImage(`docker-archive:${at('a.tar')}`))
    await expectSame(await openImage(`oci-archive:${at('a.tar')}:team/app:1`))
    await expectSame(await openArchive(createReadStream(at('a.tar'))))
    await expectSame(await openArchive(pieces(gzipSync(tar))))
    await expectSame(await openArchive(pieces(zstdStored(tar))))
  })

  it('is what GNU tar can read', async () => {
    await writeFile(at('a.tar'), await archive())
    const names = execFileSync('tar', ['-tf', at('a.tar')], { encoding: 'utf8' })
      .trim()
      .split('\n')
    expect(names.slice(0, 5)).toEqual(['oci-layout', 'index.json', 'manifest.json', 'blobs/', 'blobs/sha256/'])
  })

  it('may be what `docker save` wrote before Docker 25', async () => {
    const tar = await collect(layerTar(image, image.manifest.layers[0] as never))
    const config = Buffer.from(JSON.stringify(image.config))
    const saved = (layers: string[], diffIds = image.config.rootfs.diff_ids) => [
      folder('x'),
      file('x/layer.tar', tar),
      { header: { ...folder('y/layer.tar').header, type: 'symlink' as const, linkname: '../x/layer.tar' } },
      file('z/layer.tar', gzipSync(tar)),
      file('c.json', Buffer.from(JSON.stringify({ ...JSON.parse(config.toString()), rootfs: { type: 'layers', diff_ids: diffIds } }))),
      file('manifest.json', JSON.stringify([{ Config: 'c.json', RepoTags: ['team/app:1'], Layers: layers }])),
    ]
    for (const path of ['x', 'y', 'z']) await expectSame(await openArchive(pieces(await tarOf(...saved([`${path}/layer.tar`])))))
    await expect(openArchive(pieces(await tarOf(...saved(['n/layer.tar']))))).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    const wrong = await openArchive(pieces(await tarOf(...saved(['x/layer.tar'], [digestOf('other')]))))
    await expect(unpackImage(wrong, at('out'), { ownership: 'record' })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    await wrong.close()
  })

  it('cut off anywhere is refused, or its image is', async () => {
    const tar = await archive()
    for (let length = 0; length < tar.length - 1024; length += 700) {
      await writeFile(at('cut.tar'), tar.subarray(0, length))
      await expect(openArchive(at('cut.tar')), `${length} bytes`).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    }
  })
})
