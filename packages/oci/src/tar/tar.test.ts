import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { collect, file, pieces, tarOf } from '../../test/support.js'
import { plainHeader, type TarHeader } from './entry.js'
import { readTar } from './read.js'
import { writeTar } from './write.js'

async function read(content: AsyncIterable<Uint8Array>): Promise<{ header: TarHeader; text: string }[]> {
  const entries = []
  for await (const entry of readTar(content)) {
    // Every second one is left unread.
    entries.push({ header: entry.header, text: entries.length % 2 === 0 ? (await collect(entry.content())).toString('latin1') : '' })
  }
  return entries
}

const name = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 300 })
  .filter((text) => !/[\0]/.test(text) && !text.endsWith('/') && Buffer.from(text).toString() === text)
const header = fc.record({
  name,
  linkname: name,
  type: fc.constantFrom('file', 'symlink', 'hardlink', 'directory', 'fifo', 'character-device'),
  mode: fc.nat(0o7777),
  uid: fc.nat(2 ** 31),
  gid: fc.nat(2 ** 31),
  mtimeMs: fc.integer({ min: -1e12, max: 4e12 }),
  content: fc.uint8Array({ maxLength: 2000 }),
  xattrs: fc.dictionary(fc.stringMatching(/^user\.[a-z]{1,200}$/), fc.uint8Array({ maxLength: 20 })),
})

describe('tar', () => {
  it('reads back what it writes, byte for byte, in pieces of any size', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(header, { maxLength: 5 }), fc.integer({ min: 1, max: 1500 }), async (made, size) => {
        const items = made.map(({ content, xattrs, type, ...rest }) => {
          const bytes = type === 'file' ? content : new Uint8Array(0)
          const isLink = type === 'symlink' || type === 'hardlink'
          const given = plainHeader(rest.name, bytes.length, {
            ...rest,
            type: type as TarHeader['type'],
            linkname: isLink ? rest.linkname : '',
          })
          if (type === 'character-device') given.device = { major: 8, minor: 1 }
          if (Object.keys(xattrs).length > 0) given.xattrs = xattrs
          return { header: given, bytes }
        })
        const tar = await collect(writeTar(items.map(({ header: each, bytes }) => ({ header: each, content: pieces(bytes) }))))
        const entries = await read(pieces(tar, size))
        expect(entries.length).toBe(items.length)
        for (const [at, { header: given, bytes }] of items.entries()) {
          const { xattrs, ...got } = (entries[at] as (typeof entries)[number]).header
          const { xattrs: wanted, ...rest } = given
          expect({ ...got, name: got.name.replace(/\/$/, '') }).toEqual(rest)
          expect(Object.entries(xattrs ?? {}).map(([key, value]) => [key, Buffer.from(value)])).toEqual(
            Object.entries(wanted ?? {}).map(([key, value]) => [key, Buffer.from(value)]),
          )
          if (at % 2 === 0) expect(entries[at]?.text).toBe(Buffer.from(bytes).toString('latin1'))
        }
      }),
      { numRuns: 150 },
    )
  })

  it('writes what GNU tar reads', async () => {
    const tar = await tarOf(file('plain', 'hello'), file(`long/${'ü'.repeat(120)}`, 'x', { uid: 3_000_000, mtimeMs: 1_600_000_000_500 }))
    const text = execFileSync('tar', ['--numeric-owner', '--quoting-style=literal', '-tvf', '-'], {
      input: tar,
      encoding: 'utf8',
      env: { ...process.env, TZ: 'UTC', LC_ALL: 'C.UTF-8' },
    })
    expect(text.split('\n')[0]).toMatch(/^-rw-r--r-- 0\/0 +5 1970-01-01 00:00 plain$/)
    expect(text.split('\n')[1]).toMatch(/3000000\/0 +1 2020-09-13 .* long\/ü{120}$/)
  })

  it('gives an error, and nothing else, for any other bytes', async () => {
    const tar = await tarOf(file('a', 'x'.repeat(1000)), file('n'.repeat(200), 'y', { xattrs: { 'user.a': Buffer.from('b') } }))
    await fc.assert(
      fc.asyncProperty(fc.nat(tar.length - 1), fc.nat(255), fc.nat(tar.length), async (at, byte, end) => {
        const spoiled = Buffer.from(tar)
        spoiled[at] = byte
        await read(pieces(spoiled.subarray(0, end))).catch((error: unknown) =>
          expect(error).toMatchObject({ name: 'Error', message: expect.any(String) }),
        )
      }),
      { numRuns: 500 },
    )
  })

  it('knows a negative and a large number of GNU tar', async () => {
    const tar = execFileSync('tar', ['--format=gnu', '--owner=:4000000000', '--mtime=@-86400', '-C', '/', '-cf', '-', 'etc/hostname'])
    const [entry] = await read(pieces(tar))
    expect(entry?.header).toMatchObject({ uid: 4_000_000_000, mtimeMs: -86_400_000 })
  })
})
