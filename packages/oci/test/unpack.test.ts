import { execFileSync } from 'node:child_process'
import { lstat, mkdir, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openArchive, unpackImage } from '../src/index.js'
import type { TarItem } from '../src/tar/write.js'
import { file, folder, hardlink, imageOf, listing, makeImage, openMade, symlink, tarOf, temporary } from './support.js'

const isRoot = process.getuid?.() === 0
let outside: Awaited<ReturnType<typeof temporary>>
let target: string

beforeEach(async () => {
  outside = await temporary()
  target = join(outside.path, 'target')
})
afterEach(() => outside[Symbol.asyncDispose]())

const unpack = async (...layers: TarItem[][]) => unpackImage(await imageOf(...layers), target, { ownership: 'record' })
const names = async () => (await readdir(target, { recursive: true })).sort()

describe('layers', () => {
  it('unpacks files, folders, links, modes and times', async () => {
    const done = await unpack([
      folder('etc', { mode: 0o700 }),
      file('etc/hosts', 'hello', { mode: 0o4640, mtimeMs: 1_700_000_000_123 }),
      symlink('etc/link', '/etc/hosts'),
      hardlink('etc/same', 'etc/hosts'),
      file('deep/er/file', 'x'.repeat(5000)),
    ])
    expect(await readFile(join(target, 'etc/hosts'), 'utf8')).toBe('hello')
    const stats = await lstat(join(target, 'etc/hosts'))
    expect(stats.mode & 0o7777).toBe(0o4640)
    expect(Math.round(stats.mtimeMs)).toBe(1_700_000_000_123)
    expect((await lstat(join(target, 'etc/same'))).ino).toBe(stats.ino)
    expect(await readlink(join(target, 'etc/link'))).toBe('/etc/hosts')
    expect((await stat(join(target, 'deep/er/file'))).size).toBe(5000)
    expect(done).toMatchObject({ entries: 5, bytes: 5005, skipped: [] })
    expect(done.records.map(({ path }) => path)).toEqual([
      '/',
      '/etc',
      '/etc/hosts',
      '/etc/link',
      '/etc/same',
      '/deep',
      '/deep/er',
      '/deep/er/file',
    ])
  })

  it('records what it cannot set without root: owners, devices, attributes', async () => {
    const { records } = await unpack([
      file('a', 'x', {
        uid: 1000,
        gid: 70_000_000,
        mode: 0,
        xattrs: { 'security.capability': Buffer.from([1, 0, 0, 2, 0x80, 0xff, 0, 0]) },
      }),
      { header: { ...folder('dev/null').header, type: 'character-device', mode: 0o666, device: { major: 1, minor: 3 } } },
      { header: { ...folder('fifo').header, type: 'fifo', mode: 0o600 } },
      hardlink('b', 'a'),
    ])
    const a = {
      type: 'file',
      uid: 1000,
      gid: 70_000_000,
      mode: 0,
      mtimeMs: 0,
      xattrs: { 'security.capability': Buffer.from([1, 0, 0, 2, 0x80, 0xff, 0, 0]) },
    }
    expect(records.find(({ path }) => path === '/a')).toEqual({ path: '/a', ...a })
    expect(records.find(({ path }) => path === '/b')).toEqual({ path: '/b', ...a })
    expect(records.find(({ path }) => path === '/dev/null')).toMatchObject({ type: 'character-device', device: { major: 1, minor: 3 } })
    expect(records.find(({ path }) => path === '/fifo')).toMatchObject({ type: 'fifo', mode: 0o600 })
    expect(await names()).toEqual(['a', 'b', 'dev'])
    // The owner can read it, whatever the image says.
    expect((await lstat(join(target, 'a'))).mode & 0o7777).toBe(0o400)
  })

  it('takes away what a whiteout names, and keeps what the same layer adds', async () => {
    await unpack(
      [file('keep', '1'), file('gone', '1'), folder('dir'), file('dir/a'), file('dir/b'), folder('dir/sub'), file('dir/sub/x')],
      [file('.wh.gone'), file('dir/new'), file('dir/.wh..wh..opq'), file('.wh..wh.plnk'), file('.wh.never-there'), file('no/where/.wh.x')],
    )
    expect(await names()).toEqual(['dir', 'dir/new', 'keep'])
  })

  it('lets a layer turn files, folders and links into each other', async () => {
    await unpack(
      [folder('a'), file('a/x'), file('b'), symlink('c', 'a'), folder('d'), file('d/kept')],
      [file('a', 'file'), folder('b'), file('b/y'), folder('c'), folder('d', { mode: 0o711 })],
    )
    expect(await names()).toEqual(['a', 'b', 'b/y', 'c', 'd', 'd/kept'])
    expect((await lstat(join(target, 'd'))).mode & 0o7777).toBe(0o711)
  })

  it('follows links of the image as inside it', async () => {
    await unpack(
      [folder('usr'), folder('usr/bin'), symlink('bin', 'usr/bin'), symlink('abs', '/usr'), symlink('up', 'usr/bin/../bin')],
      [file('bin/tool', '1'), file('abs/readme', '2'), file('up/other', '3'), hardlink('same', 'bin/tool')],
    )
    expect(await readdir(join(target, 'usr/bin'))).toEqual(['other', 'tool'])
    expect(await readFile(join(target, 'usr/readme'), 'utf8')).toBe('2')
    expect((await lstat(join(target, 'same'))).ino).toBe((await lstat(join(target, 'usr/bin/tool'))).ino)
  })

  it('keeps the other name of a file whose first one a layer takes away', async () => {
    const { records } = await unpack([file('a', 'x', { uid: 7 }), hardlink('b', 'a')], [file('.wh.a')])
    expect(await names()).toEqual(['b'])
    expect(records.find(({ path }) => path === '/b')).toMatchObject({ uid: 7, type: 'file' })
  })

  it.each(['none', 'gzip', 'zstd'] as const)('reads layers packed with %s', async (packing) => {
    const tar = await tarOf(file('big', 'z'.repeat(300_000)))
    await unpackImage(await openMade(makeImage([tar], packing), 777), target, { ownership: 'record' })
    expect((await stat(join(target, 'big'))).size).toBe(300_000)
  })
})

describe.skipIf(!isRoot)(`with root${isRoot ? '' : ' (not run: it needs root)'}`, () => {
  it('sets owners, devices and modes', async () => {
    const image = await imageOf([
      file('a', 'x', { uid: 1000, gid: 1001, mode: 0o4755 }),
      { header: { ...folder('null').header, type: 'character-device', mode: 0o666, device: { major: 1, minor: 3 } } },
      { header: { ...folder('pipe').header, type: 'fifo', mode: 0o600, uid: 5 } },
      symlink('l', 'a'),
      folder('closed', { mode: 0o500, uid: 9 }),
      file('closed/in', 'y'),
    ])
    await unpackImage(image, target, { ownership: 'apply' })
    const text = execFileSync('stat', ['-c', '%n %F %a %u:%g %t:%T', 'a', 'null', 'pipe', 'l', 'closed'], { cwd: target, encoding: 'utf8' })
    expect(text.trim().split('\n')).toEqual([
      'a regular file 4755 1000:1001 0:0',
      'null character special file 666 0:0 1:3',
      'pipe fifo 600 5:0 0:0',
      'l symbolic link 777 0:0 0:0',
      'closed directory 500 9:0 0:0',
    ])
  })

  it('sets extended attributes, or says why not', async () => {
    const capability = Buffer.from([1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    const image = await imageOf([
      file('ping = 1', 'x', { mode: 0o755, xattrs: { 'security.capability': capability } }),
      folder('o', { xattrs: { 'trusted.overlay.opaque': Buffer.from('y') } }),
    ])
    const { skipped } = await unpackImage(image, target, { ownership: 'apply' })
    expect(skipped).toContainEqual({ path: '/o', reason: expect.stringContaining('not set') })
    const others = skipped.filter(({ path }) => path !== '/o')
    if (others.length > 0) return expect(others).toEqual([{ path: '/ping = 1', reason: expect.stringContaining('setfattr') }])
    const dump = execFileSync('getfattr', ['-e', 'hex', '-n', 'security.capability', 'ping = 1'], { cwd: target, encoding: 'utf8' })
    expect(dump).toContain(capability.toString('hex'))
  })
})

describe('what is refused', () => {
  const refused = async (layers: TarItem[][], code = 'INVALID_CONFIG') => {
    const before = listing(outside.path)
    await expect(unpack(...layers)).rejects.toMatchObject({ code })
    expect(listing(outside.path)).toEqual(before)
  }

  it.each<[string, TarItem[]]>([
    ['`..`', [file('../evil')]],
    ['`..` in the middle', [folder('a'), file('a/../../evil')]],
    ['an absolute name', [file('/evil')]],
    ['a link above the root', [symlink('up', '..'), file('up/evil')]],
    ['a link far above the root', [symlink('up', 'a/../../../..'), folder('a'), file('up/evil')]],
    ['a link to a folder outside', [symlink('out', '/tmp'), file('out/evil')]],
    ['a chain of links', [folder('a'), symlink('a/b', '..'), symlink('c', 'a/b/..'), file('c/evil')]],
    ['links in a circle', [symlink('a', 'b'), symlink('b', 'a'), file('a/evil')]],
    ['a hard link to outside', [hardlink('evil', '../secret')]],
    ['a hard link to an absolute path', [hardlink('evil', '/etc/passwd')]],
    ['a hard link through a link', [symlink('out', '..'), hardlink('evil', 'out/secret')]],
    ['a hard link to a folder', [folder('a'), hardlink('evil', 'a')]],
    ['a whiteout of `..`', [file('.wh...')]],
    ['a whiteout through a link', [symlink('out', '..'), file('out/.wh.secret')]],
    ['a root that is a link', [symlink('.', '/tmp')]],
    ['a file as a folder', [file('a'), file('a/evil')]],
    ['a name of 300 characters', [file('n'.repeat(300))]],
    ['a name with a zero', [file('a\0b')]],
  ])('%s', async (_, items) => {
    await writeFile(join(outside.path, 'secret'), 'secret')
    await refused([items])
    await refused(items.map((item) => [item]))
  })

  it('a folder that is not empty, and leaves it as it is', async () => {
    await mkdir(target)
    await writeFile(join(target, 'mine'), '')
    await refused([[file('a')]], 'ALREADY_EXISTS')
    expect(await names()).toEqual(['mine'])
  })

  it('more entries or bytes than allowed', async () => {
    const image = await imageOf([file('a', 'xx'), file('b', 'xx')])
    await expect(unpackImage(image, target, { ownership: 'record', maxEntries: 1 })).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
    await expect(unpackImage(image, target, { ownership: 'record', maxBytes: 3 })).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
    expect(await readdir(outside.path)).toEqual([])
  })

  it('a layer that breaks off, is not what its digest says, or is no tar', async () => {
    const tar = await tarOf(file('a', 'x'.repeat(4000)))
    for (const packing of ['none', 'gzip', 'zstd'] as const) {
      for (const spoil of [
        (bytes: Uint8Array) => bytes.subarray(0, -700),
        (bytes: Uint8Array) => Buffer.concat([bytes, bytes.subarray(0, 9)]),
      ]) {
        const made = makeImage([tar], packing)
        const [[digest, bytes] = ['', tar]] = made.blobs
        made.blobs.set(digest, spoil(bytes))
        await expect(unpackImage(await openMade(made), target, { ownership: 'record' })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
        expect(await readdir(outside.path)).toEqual([])
      }
      // The blob is what its digest says, and yet no whole layer.
      const cut = makeImage([tar.subarray(0, 2000)], packing)
      await expect(unpackImage(await openMade(cut), target, { ownership: 'record' })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    }
    const noise = makeImage([Buffer.alloc(2048, 7)])
    await expect(unpackImage(await openMade(noise), target, { ownership: 'record' })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    expect(await readdir(outside.path)).toEqual([])
  })

  it('a layer whose uncompressed content is another than the config says', async () => {
    const made = makeImage([await tarOf(file('a'))], 'gzip', { rootfs: { type: 'layers', diff_ids: [`sha256:${'0'.repeat(64)}`] } })
    await expect(unpackImage(await openMade(made), target, { ownership: 'record' })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    expect(await readdir(outside.path)).toEqual([])
  })

  it('stops at once when aborted, and leaves nothing', async () => {
    const controller = new AbortController()
    const image = await imageOf([file('a', 'x'.repeat(20_000_000)), file('b')])
    let after = 0
    async function* counted(content: AsyncIterable<Uint8Array>) {
      for await (const chunk of content) {
        if (controller.signal.aborted) after += chunk.length
        yield chunk
      }
    }
    const blob: typeof image.blob = (...asked) => counted(image.blob(...asked))
    const report = () => controller.abort()
    const done = unpackImage({ ...image, blob }, target, { ownership: 'record', signal: controller.signal, report })
    await expect(done).rejects.toMatchObject({ code: 'ABORTED' })
    // It was told of the first 8 MiB: of the rest no more is read than is on its way.
    expect(after).toBeLessThan(2 ** 20)
    expect(await readdir(outside.path)).toEqual([])
  })
})

describe('hostile layers', () => {
  const part = fc.constantFrom('a', 'b', 'c', '..', '.', '', '.wh.a', '.wh..wh..opq', 'target', 'secret')
  const name = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('/'))
  const anchored = fc.tuple(fc.constantFrom('', '/', '../', './'), name).map(([start, rest]) => start + rest)
  const item = fc.oneof(
    anchored.map((each) => () => file(each, 'evil')),
    anchored.map((each) => () => folder(each)),
    fc.tuple(anchored, anchored).map(
      ([each, to]) =>
        () =>
          symlink(each, to),
    ),
    fc.tuple(anchored, anchored).map(
      ([each, to]) =>
        () =>
          hardlink(each, to),
    ),
  )

  it('change nothing outside the folder, and are unpacked whole or not at all', async () => {
    await writeFile(join(outside.path, 'secret'), 'secret')
    let unpacked = 0
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(item, { maxLength: 6 }), { minLength: 1, maxLength: 3 }), async (layers) => {
        const image = await imageOf(...layers.map((items) => items.map((make) => make())))
        const failure = await unpackImage(image, target, { ownership: 'record' }).then(
          () => undefined,
          (error: unknown) => error,
        )
        if (failure !== undefined) {
          expect(failure).toMatchObject({ code: 'INVALID_CONFIG' })
          expect(await readdir(outside.path)).toEqual(['secret'])
        } else {
          unpacked += 1
          expect((await readdir(outside.path)).sort()).toEqual(['secret', 'target'])
          execFileSync('rm', ['-rf', target])
        }
        expect(await readFile(join(outside.path, 'secret'), 'utf8')).toBe('secret')
        expect((await lstat(join(outside.path, 'secret'))).nlink).toBe(1)
      }),
      { numRuns: 400 },
    )
    expect(unpacked).toBeGreaterThan(10)
  })
})

describe('against GNU tar', () => {
  it('unpacks what it packed, in every format that images have', async () => {
    const source = join(outside.path, 'source')
    await mkdir(join(source, 'd'.repeat(90), 'e'.repeat(90)), { recursive: true })
    await writeFile(join(source, 'd'.repeat(90), 'e'.repeat(90), `ü${'f'.repeat(80)}`), 'long')
    await writeFile(join(source, 'plain'), 'x'.repeat(70_000), { mode: 0o640 })
    execFileSync('ln', ['-s', 'l'.repeat(150), join(source, 'link')])
    execFileSync('ln', [join(source, 'plain'), join(source, 'second')])
    for (const format of ['gnu', 'posix']) {
      const tar = execFileSync('tar', ['-C', source, `--format=${format}`, '-cf', '-', '.'], { maxBuffer: 2 ** 26 })
      await unpackImage(await openMade(makeImage([tar])), target, { ownership: 'record' })
      expect(listing(target)).toEqual(listing(source))
      execFileSync('rm', ['-rf', target])
    }
  })

  it('refuses a tar that is no image', async () => {
    const tar = join(outside.path, 'x.tar')
    await writeFile(tar, await tarOf(file('hello')))
    await expect(openArchive(tar)).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  })
})
