/**
 * A small ISO 9660 image with Joliet names: files in the root folder, for seeds that a guest reads. Pure; equal files give equal bytes.
 * Sources: ECMA-119 (fields by its clause numbers), and the Joliet specification of 1995 (a supplementary descriptor in UCS-2).
 */

export interface IsoFile {
  /** 1-64 UTF-16 units, without `/`. */
  name: string
  content: Uint8Array
}

const SECTOR = 2048
/** The first 16 sectors are the system area (6.2.1). */
const DESCRIPTORS = 16
const LONGEST_NAME = 64

/** @param label at most 16 characters of A-Z, a-z, 0-9, `_`, `-`: what blkid(8) and cloud-init look for */
export function isoImage(label: string, files: readonly IsoFile[]): Buffer {
  for (const { name } of files)
    if (name === '' || name.length > LONGEST_NAME || name.includes('/')) throw new RangeError(`not a name: ${JSON.stringify(name)}`)
  // Layout: descriptors, path tables, root folders, files.
  const [primary, joliet] = [DESCRIPTORS, DESCRIPTORS + 1]
  const tables = DESCRIPTORS + 3
  const roots = tables + 4
  const rootSectors = [8, 8] as const
  let next = roots + rootSectors[0] + rootSectors[1]
  const placed = files.map((file, index) => {
    const at = next
    next += Math.ceil(file.content.length / SECTOR)
    return { ...file, at, plain: plainName(file.name, index) }
  })
  const image = Buffer.alloc(next * SECTOR)
  const volumes = [
    { sector: primary, table: tables, root: roots, isJoliet: false },
    { sector: joliet, table: tables + 2, root: roots + rootSectors[0], isJoliet: true },
  ]
  for (const { sector, table, root, isJoliet } of volumes) {
    const entries = placed
      .map(({ name, plain, at, content }) => ({ name: isJoliet ? wide(name) : Buffer.from(`${plain};1`), at, length: content.length }))
      .sort((a, b) => Buffer.compare(a.name, b.name))
    const folder = folderOf(root, rootSectors[0] * SECTOR, entries)
    folder.copy(image, root * SECTOR)
    pathTable(root, false).copy(image, table * SECTOR)
    pathTable(root, true).copy(image, (table + 1) * SECTOR)
    descriptor({ label, isJoliet, sectors: next, table, root, rootLength: rootSectors[0] * SECTOR }).copy(image, sector * SECTOR)
  }
  // Terminator (8.3).
  image.set([255, ...Buffer.from('CD001'), 1], (DESCRIPTORS + 2) * SECTOR)
  for (const { at, content } of placed) image.set(content, at * SECTOR)
  return image
}

/** 8.3 in capital letters (7.5, level 1), unique by its number; who reads Joliet or cloud-init's lower case never sees it. */
function plainName(name: string, index: number): string {
  const clean = name
    .toUpperCase()
    .replace(/[^A-Z0-9_]/g, '_')
    .slice(0, 5)
  return `${clean}${String(index).padStart(3, '0')}.`
}

/** UCS-2, big-endian. */
function wide(text: string): Buffer {
  return Buffer.from(text, 'utf16le').swap16()
}

/** A number in both byte orders (7.2.3, 7.3.3). */
function both16(value: number): number[] {
  return [value & 0xff, value >> 8, value >> 8, value & 0xff]
}

function both32(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32LE(value, 0)
  bytes.writeUInt32BE(value, 4)
  return bytes
}

/** Years since 1900, month, day, hour, minute, second, zone (9.1.5): always the same, so that equal seeds are equal. */
const DATE = [100, 1, 1, 0, 0, 0, 0]
const FOLDER_FLAG = 2

/** 9.1 */
function directoryRecord(name: Uint8Array, at: number, length: number, flags: number): Buffer {
  const size = 33 + name.length + ((name.length + 1) % 2)
  const record = Buffer.alloc(size)
  record[0] = size
  both32(at).copy(record, 2)
  both32(length).copy(record, 10)
  record.set(DATE, 18)
  record[25] = flags
  record.set(both16(1), 28)
  record[32] = name.length
  record.set(name, 33)
  return record
}

/** Itself, its parent, which is itself, then the entries; none crosses a sector (6.8.1.1). */
function folderOf(sector: number, length: number, entries: readonly { name: Buffer; at: number; length: number }[]): Buffer {
  const folder = Buffer.alloc(length)
  const records = [
    directoryRecord(Uint8Array.of(0), sector, length, FOLDER_FLAG),
    directoryRecord(Uint8Array.of(1), sector, length, FOLDER_FLAG),
    ...entries.map((entry) => directoryRecord(entry.name, entry.at, entry.length, 0)),
  ]
  let at = 0
  for (const record of records) {
    if ((at % SECTOR) + record.length > SECTOR) at = Math.ceil(at / SECTOR) * SECTOR
    if (at + record.length > length) throw new RangeError('too many files')
    record.copy(folder, at)
    at += record.length
  }
  return folder
}

/** One entry, the root (9.4), in the byte order of its table. */
function pathTable(root: number, isBig: boolean): Buffer {
  const table = Buffer.alloc(10)
  table[0] = 1
  if (isBig) table.writeUInt32BE(root, 2)
  else table.writeUInt32LE(root, 2)
  if (isBig) table.writeUInt16BE(1, 6)
  else table.writeUInt16LE(1, 6)
  return table
}

interface Volume {
  label: string
  isJoliet: boolean
  sectors: number
  table: number
  root: number
  rootLength: number
}

/** 8.4 and 8.5 */
function descriptor({ label, isJoliet, sectors, table, root, rootLength }: Volume): Buffer {
  const bytes = Buffer.alloc(SECTOR)
  const text = (value: string, at: number, length: number): void => {
    const encoded = isJoliet ? wide(value.padEnd(length / 2, ' ')) : Buffer.from(value.padEnd(length, ' '), 'latin1')
    encoded.copy(bytes, at, 0, length)
  }
  bytes[0] = isJoliet ? 2 : 1
  bytes.write('CD001', 1, 'latin1')
  bytes[6] = 1
  text('', 8, 32)
  text(label, 40, 32)
  both32(sectors).copy(bytes, 80)
  // Escape sequence of UCS-2 level 3, which says that this is Joliet.
  if (isJoliet) bytes.set([0x25, 0x2f, 0x45], 88)
  bytes.set(both16(1), 120)
  bytes.set(both16(1), 124)
  bytes.set(both16(SECTOR), 128)
  both32(10).copy(bytes, 132)
  bytes.writeUInt32LE(table, 140)
  bytes.writeUInt32BE(table + 1, 148)
  directoryRecord(Uint8Array.of(0), root, rootLength, FOLDER_FLAG).copy(bytes, 156)
  for (const [at, length] of [
    [190, 128],
    [318, 128],
    [446, 128],
    [574, 128],
    [702, 37],
    [739, 37],
    [776, 37],
  ] as const)
    text('', at, length)
  // "Not given", as digits (8.4.26.1).
  for (const at of [813, 830, 847, 864]) bytes.write('0000000000000000', at, 'latin1')
  bytes[881] = 1
  return bytes
}
