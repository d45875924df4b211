import { BLOCK, type EntryType, type TarHeader, TYPE_FLAGS, XATTR_KEY } from './entry.js'

/** A header block before the extended headers that go with it are applied. */
export interface RawHeader extends Omit<TarHeader, 'type'> {
  /** One character, see `TYPE_FLAGS`; also `x`, `g` (pax), `L`, `K` (GNU's long names). */
  flag: string
}

export class TarError extends Error {}

const TYPES: Readonly<Record<string, EntryType>> = {
  ...Object.fromEntries(Object.entries(TYPE_FLAGS).map(([type, flag]) => [flag, type as EntryType])),
  '\0': 'file',
  '7': 'file',
}

/** @returns `undefined` for a block of zeros, which ends an archive */
export function parseHeader(block: Uint8Array): RawHeader | undefined {
  const buffer = Buffer.from(block.buffer, block.byteOffset, block.byteLength)
  const sum = checksum(buffer)
  if (sum === 8 * 32) return undefined
  if (number(buffer, 148, 8) !== sum) throw new TarError('a header has a wrong checksum')
  const isUstar = buffer.toString('latin1', 257, 263) === 'ustar\0'
  const prefix = isUstar ? text(buffer, 345, 155) : ''
  const name = text(buffer, 0, 100)
  const flag = String.fromCharCode(buffer[156] ?? 0)
  const type = typeOf(flag)
  const header: RawHeader = {
    flag,
    name: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(buffer, 100, 8) & 0o7777,
    uid: number(buffer, 108, 8),
    gid: number(buffer, 116, 8),
    size: number(buffer, 124, 12),
    mtimeMs: number(buffer, 136, 12) * 1000,
    linkname: text(buffer, 157, 100),
  }
  if (type === 'character-device' || type === 'block-device') {
    header.device = { major: number(buffer, 329, 8), minor: number(buffer, 337, 8) }
  }
  return header
}

export function typeOf(flag: string): EntryType | undefined {
  return Object.hasOwn(TYPES, flag) ? TYPES[flag] : undefined
}

function checksum(buffer: Buffer): number {
  let sum = 8 * 32
  for (let at = 0; at < 148; at++) sum += buffer[at] as number
  for (let at = 156; at < BLOCK; at++) sum += buffer[at] as number
  return sum
}

function text(buffer: Buffer, start: number, length: number): string {
  const end = buffer.indexOf(0, start)
  return decodeName(buffer.subarray(start, end < 0 || end > start + length ? start + length : end))
}

function decodeName(bytes: Uint8Array): string {
  const name = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
  // Node's file names are text: bytes that are no UTF-8 would become another name.
  if (name.includes('\ufffd') && !Buffer.from(name).equals(bytes)) throw new TarError('a file name is no UTF-8')
  return name
}

/** Octal text, or with the first bit set GNU's base 256. */
function number(buffer: Buffer, start: number, length: number): number {
  if (((buffer[start] ?? 0) & 0x80) !== 0) return base256(buffer.subarray(start, start + length))
  const digits = buffer
    .toString('latin1', start, start + length)
    .replace(/[\0 ]+/g, ' ')
    .trim()
  if (digits === '') return 0
  if (!/^[0-7]+$/.test(digits)) throw new TarError('a header has a number that is none')
  return Number.parseInt(digits, 8)
}

function base256(bytes: Uint8Array): number {
  const isNegative = ((bytes[0] as number) & 0x40) !== 0
  let value = isNegative ? -1n : 0n
  value = (value << 6n) | BigInt((bytes[0] as number) & 0x3f)
  for (const byte of bytes.subarray(1)) value = (value << 8n) | BigInt(byte)
  const result = Number(value)
  if (!Number.isSafeInteger(result)) throw new TarError('a header has a number that is too large')
  return result
}

/** Records of the form `<length> <key>=<value>\n`; the length counts itself. */
export function parsePax(bytes: Uint8Array): Map<string, Uint8Array> {
  const records = new Map<string, Uint8Array>()
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at < buffer.length; ) {
    const space = buffer.indexOf(0x20, at)
    const digits = space < 0 ? '' : buffer.toString('latin1', at, space)
    const length = /^[0-9]{1,10}$/.test(digits) ? Number(digits) : 0
    const record = buffer.subarray(space + 1, at + length)
    const equals = record.indexOf(0x3d)
    if (length <= digits.length + 1 || at + length > buffer.length || equals < 1 || record.at(-1) !== 0x0a) {
      throw new TarError('an extended header is broken')
    }
    records.set(record.toString('utf8', 0, equals), record.subarray(equals + 1, -1))
    at += length
  }
  return records
}

/** The header that the records of a pax header make of a raw one. */
export function applyPax(header: RawHeader, records: ReadonlyMap<string, Uint8Array>): RawHeader {
  const result = { ...header }
  const xattrs: Record<string, Uint8Array> = Object.create(null)
  for (const [key, value] of records) {
    if (key === 'path') result.name = decodeName(value)
    else if (key === 'linkpath') result.linkname = decodeName(value)
    else if (key === 'size') result.size = decimal(value)
    else if (key === 'uid') result.uid = decimal(value)
    else if (key === 'gid') result.gid = decimal(value)
    else if (key === 'mtime') result.mtimeMs = Math.round(decimal(value, /^-?[0-9]+(?:\.[0-9]*)?$/) * 1e6) / 1e3
    else if (key.startsWith(XATTR_KEY)) xattrs[key.slice(XATTR_KEY.length)] = value
    else if (key.startsWith('GNU.sparse.')) throw new TarError('it has a sparse file, which is not supported')
  }
  if (Object.keys(xattrs).length > 0) result.xattrs = xattrs
  return result
}

function decimal(value: Uint8Array, pattern = /^[0-9]{1,16}$/): number {
  const digits = Buffer.from(value).toString('latin1')
  const result = pattern.test(digits) ? Number(digits) : Number.NaN
  if (!Number.isFinite(result)) throw new TarError('an extended header has a number that is none')
  return result
}

/** A long name of GNU tar: text up to the first zero. */
export function longName(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return decodeName(end < 0 ? bytes : bytes.subarray(0, end))
}
