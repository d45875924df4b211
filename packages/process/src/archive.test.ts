import fc from 'fast-check'
import { expect, it } from 'vitest'
import { checked } from './archive.js'

/** One ustar entry of POSIX.1-1988, with its content. */
function entry(name: string, { type = '0', link = '', content = '', prefix = '' } = {}): Buffer {
  const header = Buffer.alloc(512)
  header.write(name, 0, 100)
  header.write(`${Buffer.byteLength(content).toString(8).padStart(11, '0')}\0`, 124)
  header.write(type, 156)
  header.write(link, 157, 100)
  header.write('ustar\x0000', 257, 'latin1')
  header.write(prefix, 345, 155)
  const body = Buffer.alloc(Math.ceil(Buffer.byteLength(content) / 512) * 512)
  body.write(content)
  return Buffer.concat([header, body])
}

async function pass(tar: Uint8Array, size = tar.length || 1): Promise<Buffer> {
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < tar.length; at += size) yield tar.subarray(at, at + size)
  }
  const out: Uint8Array[] = []
  for await (const chunk of checked(pieces())) out.push(chunk)
  return Buffer.concat(out)
}

const END = Buffer.alloc(1024)

it('passes what stays below, byte for byte, however it comes in', async () => {
  const tar = Buffer.concat([
    entry('dir/', { type: '5' }),
    entry('dir/file', { content: 'x'.repeat(1000) }),
    entry('dir/link', { type: '2', link: '../dir/file' }),
    entry('..dots', { content: '..' }),
    END,
  ])
  for (const size of [1, 7, 511, 512, 513, 4096]) expect((await pass(tar, size)).equals(tar)).toBe(true)
})

it('refuses what would leave, in every place a name can be', async () => {
  const pax = (text: string): string => `${text.length + 3 + 1} ${text}\n`
  const evil = [
    entry('/etc/x'),
    entry('../x'),
    entry('a/../../x'),
    entry('x', { prefix: '../y' }),
    entry('x', { type: '2', link: '/etc' }),
    entry('a/x', { type: '2', link: '../../y' }),
    entry('x', { type: '1', link: '../y' }),
    entry('x', { type: '3' }),
    Buffer.concat([entry('././@LongLink', { type: 'L', content: '../../x\0' }), entry('x')]),
    Buffer.concat([entry('././@LongLink', { type: 'K', content: '/etc\0' }), entry('x', { type: '2', link: 'y' })]),
    Buffer.concat([entry('PaxHeader', { type: 'x', content: pax('path=../../x') }), entry('x')]),
    Buffer.concat([entry('PaxHeader', { type: 'x', content: pax('linkpath=/etc') }), entry('x', { type: '2', link: 'y' })]),
  ]
  for (const tar of evil)
    await expect(pass(Buffer.concat([entry('ok'), tar, END]))).rejects.toMatchObject({ code: 'INVALID_CONFIG', field: 'tar' })
})

it('any bytes are passed on whole or refused with a typed error', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), async (data) => {
      const out = await pass(data, 100).catch((error: { code: string }) => error.code)
      expect(out === 'INVALID_CONFIG' || Buffer.from(data).equals(out as Buffer)).toBe(true)
    }),
  )
})
