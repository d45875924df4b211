import { BLOCK, padding, type TarHeader, TYPE_FLAGS, XATTR_KEY } from './entry.js'

export interface TarItem {
  header: TarHeader
  /** Exactly `header.size` bytes; absent: none. */
  content?: AsyncIterable<Uint8Array>
}

/** A tar of these entries. @throws when a content is not as long as its header says */
export async function* writeTar(items: AsyncIterable<TarItem> | Iterable<TarItem>): AsyncGenerator<Uint8Array> {
  for await (const { header, content } of items) {
    yield encodeHeader(header)
    if (!content || header.size === 0) continue
    let size = 0
    for await (const chunk of content) {
      size += chunk.length
      if (size > header.size) break
      yield chunk
    }
    if (size !== header.size) throw new Error(`${header.name} changed its size while it was packed`)
    if (padding(size) > 0) yield Buffer.alloc(padding(size))
  }
  yield Buffer.alloc(2 * BLOCK)
}

const FIELDS = {
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  major: [329, 8],
  minor: [337, 8],
} as const

/** The header block, after a pax header for what does not fit into it. */
function encodeHeader(header: TarHeader): Uint8Array {
  const name = header.type === 'directory' && !header.name.endsWith('/') ? `${header.name}/` : header.name
  const mtime = header.mtimeMs / 1000
  const records: Uint8Array[] = []
  if (!fits(name)) records.push(record('path', name))
  if (!fits(header.linkname)) records.push(record('linkpath', header.linkname))
  for (const key of ['uid', 'gid', 'size'] as const)
    if (header[key] > largest(FIELDS[key][1])) records.push(record(key, String(header[key])))
  if (!Number.isInteger(mtime) || mtime < 0 || mtime > largest(12)) records.push(record('mtime', mtime.toFixed(9).replace(/\.?0+$/, '')))
  for (const [key, value] of Object.entries(header.xattrs ?? {})) records.push(record(XATTR_KEY + key, value))
  const block = encodeBlock(header, TYPE_FLAGS[header.type], name, mtime)
  if (records.length === 0) return block
  const content = Buffer.concat(records)
  const extended = { ...header, size: content.length, mode: 0o644, uid: 0, gid: 0, linkname: '', device: undefined }
  return Buffer.concat([encodeBlock(extended, 'x', 'pax', 0), content, Buffer.alloc(padding(content.length)), block])
}

const fits = (name: string) => Buffer.byteLength(name) <= 100 && /^[\x20-\x7e]*$/.test(name)
const largest = (length: number) => 8 ** (length - 1) - 1

function encodeBlock(header: Omit<TarHeader, 'type'>, flag: string, name: string, mtime: number): Buffer {
  const block = Buffer.alloc(BLOCK)
  const number = (field: keyof typeof FIELDS, value: number) => {
    const [at, length] = FIELDS[field]
    block.write(
      Math.min(Math.max(Math.trunc(value), 0), largest(length))
        .toString(8)
        .padStart(length - 1, '0'),
      at,
      'latin1',
    )
  }
  // What does not fit stands in the pax header; a cut name is for readers that do not know those.
  Buffer.from(name).copy(block, 0, 0, 100)
  Buffer.from(header.linkname).copy(block, 157, 0, 100)
  number('mode', header.mode & 0o7777)
  number('uid', header.uid)
  number('gid', header.gid)
  number('size', header.size)
  number('mtime', mtime)
  number('major', header.device?.major ?? 0)
  number('minor', header.device?.minor ?? 0)
  block.write(flag, 156, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  block.fill(' ', 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

function record(key: string, value: string | Uint8Array): Uint8Array {
  const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as string), Buffer.from('\n')])
  let length = body.length + String(body.length).length
  if (String(length).length > String(body.length).length) length = body.length + String(length).length
  return Buffer.concat([Buffer.from(String(length)), body])
}
