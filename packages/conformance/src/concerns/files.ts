import assert from 'node:assert/strict'
import { all, rejects } from '../assertions.js'
import type { Test } from '../tools.js'

/** Files in the machine. All paths are below its workdir, because some drivers have nothing else. */
export function files(test: Test): void {
  const needs = ['files'] as const

  test('what is written is read, byte for byte', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => (i * 7) % 256)
    await vm.files.write('kit/deep/er/data.bin', bytes)
    assert.ok(Buffer.from(await vm.files.read('kit/deep/er/data.bin')).equals(bytes))
    await vm.files.write('kit/empty', '')
    assert.equal((await vm.files.read('kit/empty')).length, 0)
    await vm.files.write('kit/deep/er/data.bin', 'shorter ü')
    assert.equal(await vm.files.readText('kit/deep/er/data.bin'), 'shorter ü', 'write replaces the file as a whole')
  })

  test('streams in and out', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const piece = new Uint8Array(100_000).fill(65)
    async function* pieces() {
      for (let i = 0; i < 20; i += 1) yield piece
    }
    await vm.files.write('kit/stream', pieces())
    let length = 0
    for await (const chunk of vm.files.readStream('kit/stream')) length += chunk.length
    assert.equal(length, 2_000_000)
  })

  test('a source that fails leaves the old file', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.files.write('kit/atomic', 'old')
    async function* broken() {
      yield Buffer.from('new, but ')
      throw new Error('the source broke')
    }
    await assert.rejects(vm.files.write('kit/atomic', broken()))
    assert.equal(await vm.files.readText('kit/atomic'), 'old')
  })

  test('list tells name, type, size and mode', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.files.write('kit/list/a file.sh', '12345', { mode: 0o750 })
    await vm.files.write('kit/list/sub/b', '')
    const entries = (await vm.files.list('kit/list')).sort((a, b) => a.name.localeCompare(b.name))
    assert.deepEqual(
      entries.map(({ name, type }) => [name, type]),
      [
        ['a file.sh', 'file'],
        ['sub', 'directory'],
      ],
    )
    assert.equal(entries[0]?.size, 5)
    assert.equal((entries[0]?.mode ?? 0) & 0o7777, 0o750)
    await rejects(vm.files.list('kit/nothing'), 'NOT_FOUND')
  })

  test('remove takes files and whole folders', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.files.write('kit/gone/a', 'a')
    await vm.files.write('kit/gone/b/c', 'c')
    await vm.files.remove('kit/gone/a')
    await rejects(vm.files.read('kit/gone/a'), 'NOT_FOUND')
    await vm.files.remove('kit/gone')
    await rejects(vm.files.list('kit/gone'), 'NOT_FOUND')
    await rejects(vm.files.remove('kit/gone'), 'NOT_FOUND')
  })

  test('a file that is not there is NOT_FOUND', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await rejects(vm.files.read('kit/no-such-file'), 'NOT_FOUND')
    await rejects(all(vm.files.readStream('kit/no-such-file')), 'NOT_FOUND')
  })

  test('hostile names come back as they went in', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const names = [
      '-rf',
      '--help',
      'a b',
      "quote'",
      'double"',
      '$(id)',
      '`id`',
      ';reboot',
      'ü✓𝄞',
      'comma,x=y',
      '*',
      'back\\slash',
      'new\nline',
    ]
    for (const name of names) await vm.files.write(`kit/names/${name}`, name)
    for (const name of names) assert.equal(await vm.files.readText(`kit/names/${name}`), name)
    assert.deepEqual((await vm.files.list('kit/names')).map(({ name }) => name).sort(), [...names].sort())
    await vm.files.remove('kit/names/*')
    assert.equal((await vm.files.list('kit/names')).length, names.length - 1, 'a star is a name, not a pattern')
  })

  test('paths that are none are refused', { needs }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await rejects(vm.files.read(''), 'INVALID_CONFIG')
    await rejects(vm.files.read('a\0b'), 'INVALID_CONFIG')
  })

  test('a tree goes out as a tar and comes in again', { needs: ['files', 'files.archive'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.files.write('kit/tree/a', 'in a')
    await vm.files.write('kit/tree/sub/b', 'in b')
    const tar = Buffer.concat(await all(vm.copyOut('kit/tree')))
    assert.equal(tar.length % 512, 0, 'a tar is made of blocks of 512 bytes')
    const other = await t.start({ does: 'idle' })
    await other.copyIn('kit/copy', tar)
    const find = async (path: string): Promise<string[]> =>
      (
        await Promise.all(
          (await other.files.list(path)).map(({ name, type }) => (type === 'directory' ? find(`${path}/${name}`) : [`${path}/${name}`])),
        )
      ).flat()
    const found = await find('kit/copy')
    const a = found.find((path) => path.endsWith('/a'))
    const b = found.find((path) => path.endsWith('/sub/b'))
    assert.ok(a && b, `expected a and sub/b, got ${found.join(', ')}`)
    assert.equal(await other.files.readText(a), 'in a')
    assert.equal(await other.files.readText(b), 'in b')
  })
}
