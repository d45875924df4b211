import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseConfig } from '@vmkit/core'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { BUNDLE_DISK, openArchive, readBundle, unpackImage, writeBundle } from '../src/index.js'
import { collect, file, imageOf, pieces, tarOf, temporary } from './support.js'

let work: Awaited<ReturnType<typeof temporary>>
const { TMPDIR } = process.env
beforeEach(async () => {
  work = await temporary()
  await mkdir(join(work.path, 'tmp'))
  process.env.TMPDIR = join(work.path, 'tmp')
})
afterEach(async () => {
  expect(await readdir(join(work.path, 'tmp'))).toEqual([])
  if (TMPDIR === undefined) delete process.env.TMPDIR
  else process.env.TMPDIR = TMPDIR
  await work[Symbol.asyncDispose]()
})

const config = {
  ...parseConfig({
    name: 'm',
    image: 'app:1',
    env: { A: 'b' },
    memory: '64MiB',
    ttl: '5m',
    files: [{ path: '/x', content: 'secret' }],
    labels: { mine: '1' },
  }),
  labels: { mine: '1', 'vmkit.machine': 'docker' },
}
const textFile = (text: string) => ({ size: text.length, read: () => pieces(Buffer.from(text)) })

it('carries the image, the config without vmkit’s own labels, and files', async () => {
  const image = await imageOf([file('etc/hosts', 'hello')])
  const bytes = await collect(writeBundle({ driver: 'docker', config, image, files: { 'volume-1.tar': textFile('data') } }))
  await using bundle = await readBundle(pieces(bytes), { content: 'image' })
  const { ttl: _ttl, ...rest } = config
  expect(bundle.driver).toBe('docker')
  expect(bundle.config).toEqual({ ...rest, files: [], labels: { mine: '1' } })
  expect([...bundle.files.keys()]).toEqual(['volume-1.tar'])
  expect((await collect(bundle.files.get('volume-1.tar')?.read() ?? pieces(bytes))).toString()).toBe('data')
  if (!bundle.image) throw new Error('no image')
  await unpackImage(bundle.image, join(work.path, 'out'), { ownership: 'record' })
  expect(await readdir(join(work.path, 'out', 'etc'))).toEqual(['hosts'])
  // The whole is an archive of an image by itself.
  const again = await openArchive(bundle.archive())
  expect(again.descriptor.digest).toBe(image.descriptor.digest)
  await again.close()
})

it('carries a disk, which a driver of images refuses', async () => {
  const bytes = await collect(writeBundle({ driver: 'kvm', config, files: { [BUNDLE_DISK]: textFile('qcow2') } }))
  await using bundle = await readBundle(pieces(bytes))
  expect(bundle.image).toBeUndefined()
  expect(bundle.files.get(BUNDLE_DISK)?.size).toBe(5)
  await expect(readBundle(pieces(bytes), { content: 'image' })).rejects.toMatchObject({ code: 'UNSUPPORTED', capability: 'bundle' })
})

it('is refused when it is made of nothing, or with a name that leads elsewhere', () => {
  expect(() => writeBundle({ driver: 'kvm', config })).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
  for (const name of ['../x', 'a/b', '', '.x']) {
    expect(() => writeBundle({ driver: 'kvm', config, files: { [BUNDLE_DISK]: textFile(''), [name]: textFile('') } })).toThrow(
      expect.objectContaining({ code: 'INVALID_CONFIG' }),
    )
  }
})

it('that is broken is refused, and leaves nothing', async () => {
  const image = await imageOf([file('a', 'x'.repeat(3000))])
  const bytes = await collect(writeBundle({ driver: 'docker', config, image }))
  const manifest = (text: string) => tarOf(file('vmkit.json', text))
  const broken = [
    Buffer.alloc(0),
    Buffer.from('no tar at all'),
    await tarOf(file('other')),
    await manifest('{'),
    await manifest('{"vmkitBundle":2}'),
    await manifest('{"vmkitBundle":1,"driver":"x","content":"image","config":{"name":"../x"}}'),
    await manifest('{"vmkitBundle":1,"driver":"x","content":"image","config":{}}'),
    await manifest('{"vmkitBundle":1,"driver":"x","content":"disk","config":{}}'),
    ...[512, 1500, 3000, 6000].map((length) => bytes.subarray(0, length)),
  ]
  for (const each of broken) await expect(readBundle(pieces(each))).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  const stopped = (async function* () {
    yield bytes.subarray(0, 1000)
    throw new Error('the sender died')
  })()
  await expect(readBundle(stopped)).rejects.toThrow('the sender died')
})
