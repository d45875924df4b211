/**
 * A tar on its way into a guest, entry by entry: what would leave the target is refused here, and long names are written as
 * GNU's records, because busybox's tar skips the pax headers that others write (its archival/libarchive/get_header_tar.c).
 */
import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { invalidConfig, VMKitError } from '@vmkit/core/driver'
import type { Header } from 'tar-stream'

const BLOCK = 512
const TYPES: Readonly<Record<string, string>> = { file: '0', 'contiguous-file': '0', link: '1', symlink: '2', directory: '5' }

export interface TarEntry {
  name: string
  type: string
  size: number
  mode: number
  uid: number
  gid: number
  /** Epoch milliseconds. */
  modifiedAt: number
  linkname: string
}

/** @throws VMKitError `INVALID_CONFIG` with the field `tar`, in the middle of it; what the source throws as it is */
export async function* checkedTar(tar: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const parser = (await import('tar-stream')).extract()
  let broken: { error: unknown } | undefined
  async function* source() {
    try {
      yield* tar
    } catch (error) {
      broken = { error }
      throw error
    }
  }
  const feeding = pipeline(Readable.from(source(), { objectMode: false }), parser, { signal })
  feeding.catch(() => {})
  try {
    for await (const item of parser) {
      const entry = entryOf(item.header)
      check(entry)
      yield headerOf(entry)
      yield* item as AsyncIterable<Uint8Array>
      if (entry.size % BLOCK > 0) yield padding(entry.size)
    }
    await feeding
  } catch (error) {
    signal.throwIfAborted()
    if (broken) throw broken.error
    if (error instanceof VMKitError) throw error
    throw new VMKitError('INVALID_CONFIG', `The tar cannot be read: ${(error as Error).message}`, {
      driver: 'kata',
      field: 'tar',
      cause: error,
    })
  } finally {
    parser.destroy()
  }
  yield Buffer.alloc(2 * BLOCK)
}

function entryOf({ name, type, size, mode, uid, gid, mtime, linkname }: Header): TarEntry {
  return {
    name,
    type: type ?? 'file',
    size: type === 'file' || type === 'contiguous-file' ? (size ?? 0) : 0,
    mode: (mode ?? 0o644) & 0o7777,
    uid: uid ?? 0,
    gid: gid ?? 0,
    modifiedAt: mtime?.getTime() ?? 0,
    linkname: linkname ?? '',
  }
}

function check({ name, type, linkname }: TarEntry): void {
  if (leaves(name) || (type === 'link' && leaves(linkname))) throw invalidConfig('tar', 'entries that stay below the target path', name)
  if (!Object.hasOwn(TYPES, type)) throw invalidConfig('tar', 'files, folders and links', `${name} (${type})`)
}

function leaves(name: string): boolean {
  const path = posix.normalize(name)
  return path.startsWith('/') || path === '..' || path.startsWith('../')
}

/** The block or blocks before an entry's content, in the format of GNU tar (its manual, "Basic Tar Format"). */
export function headerOf({ name, type, size, mode, uid, gid, modifiedAt, linkname }: TarEntry): Buffer {
  const fields = { mode, uid, gid, seconds: Math.max(Math.floor(modifiedAt / 1000), 0) }
  const path = Buffer.from(name)
  const target = Buffer.from(linkname)
  return Buffer.concat([
    ...(target.length >= 100 ? longText('K', target) : []),
    ...(path.length >= 100 ? longText('L', path) : []),
    block({ ...fields, name: path.subarray(0, 99), linkname: target.subarray(0, 99), size, type: TYPES[type] ?? '0' }),
  ])
}

function longText(type: string, text: Buffer): Buffer[] {
  const content = Buffer.concat([text, Buffer.alloc(1)])
  const header = block({
    name: Buffer.from('././@LongLink'),
    linkname: Buffer.alloc(0),
    size: content.length,
    type,
    mode: 0,
    uid: 0,
    gid: 0,
    seconds: 0,
  })
  return [header, content, padding(content.length)]
}

interface Fields {
  name: Uint8Array
  linkname: Uint8Array
  size: number
  type: string
  mode: number
  uid: number
  gid: number
  seconds: number
}

function block({ name, linkname, size, type, mode, uid, gid, seconds }: Fields): Buffer {
  const header = Buffer.alloc(BLOCK)
  header.set(name, 0)
  number(header, mode, 100, 8)
  number(header, uid, 108, 8)
  number(header, gid, 116, 8)
  number(header, size, 124, 12)
  number(header, seconds, 136, 12)
  header.write(type, 156)
  header.set(linkname, 157)
  header.write('ustar  \0', 257)
  // The sum counts its own field as blanks.
  header.fill(' ', 148, 156)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

/** Octal digits; what they cannot hold in base 256, with the highest bit as the mark. */
function number(header: Buffer, value: number, offset: number, length: number): void {
  const digits = value.toString(8)
  if (digits.length < length) {
    header.write(digits.padStart(length - 1, '0'), offset)
    return
  }
  let rest = BigInt(value)
  for (let at = offset + length - 1; at > offset; at -= 1, rest >>= 8n) header[at] = Number(rest & 0xffn)
  header[offset] = 0x80
}

function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK)
}
