/**
 * The header of qcow2, and an empty overlay, without a process for either.
 * Source: https://www.qemu.org/docs/master/interop/qcow2.html
 */
import { VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'

const MAGIC = 0x514649fb
const VERSION = 3
const CLUSTER_BITS = 16
const CLUSTER = 2 ** CLUSTER_BITS
/** One entry of the L1 table is a cluster of 8-byte entries, each for a cluster of the guest. */
const BYTES_PER_L1_ENTRY = (CLUSTER / 8) * CLUSTER
const HEADER_LENGTH = 104
const REFCOUNT_ORDER = 4 // 16 bits
/** Incompatible feature: the file holds no data, but names another that does. */
const EXTERNAL_DATA = 4n
const BACKING_FORMAT = 0xe2792aca
const LONGEST_BACKING_NAME = 1023

export interface Qcow2Header {
  virtualSize: number
  /** As it stands in the file: relative to the folder of the overlay, or absolute. */
  backing?: string
  backingFormat?: string
  /** Snapshots kept inside the file, which vmkit does not use. */
  internalSnapshots: number
}

export function isQcow2(bytes: Buffer): boolean {
  return bytes.length >= 72 && bytes.readUInt32BE(0) === MAGIC
}

/** From the first cluster of the file. */
export function readHeader(bytes: Buffer): Qcow2Header {
  if (!isQcow2(bytes)) throw damaged('it does not begin as one')
  const virtualSize = Number(bytes.readBigUInt64BE(24))
  if (bytes.readUInt32BE(4) >= 3 && (bytes.readBigUInt64BE(72) & EXTERNAL_DATA) !== 0n) throw damaged('its data lies in another file')
  const offset = Number(bytes.readBigUInt64BE(8))
  const length = bytes.readUInt32BE(16)
  if (length > LONGEST_BACKING_NAME || offset + length > bytes.length) throw damaged('the name of its backing file is out of bounds')
  const header: Qcow2Header = { virtualSize, internalSnapshots: bytes.readUInt32BE(60) }
  if (offset > 0 && length > 0) header.backing = bytes.toString('utf8', offset, offset + length)
  const format = extension(bytes, BACKING_FORMAT)
  if (format) header.backingFormat = format.toString('utf8')
  return header
}

function extension(bytes: Buffer, wanted: number): Buffer | undefined {
  let at = bytes.readUInt32BE(4) >= 3 ? bytes.readUInt32BE(100) : 72
  while (at + 8 <= bytes.length) {
    const type = bytes.readUInt32BE(at)
    const length = bytes.readUInt32BE(at + 4)
    if (type === 0) return undefined
    if (type === wanted) return bytes.subarray(at + 8, at + 8 + length)
    at += 8 + Math.ceil(length / 8) * 8
  }
  return undefined
}

export interface OverlayPlan {
  /** What to write where. */
  writes: { at: number; bytes: Buffer }[]
  /** The length of the file; what is not written is a hole. */
  length: number
}

/** A file in which nothing is written yet: every read goes to the backing file, or gives zeros without one. */
export function emptyOverlay(virtualSize: number, backing?: { path: string; format: 'qcow2' | 'raw' }): OverlayPlan {
  const l1Entries = Math.ceil(virtualSize / BYTES_PER_L1_ENTRY)
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / CLUSTER))
  const clusters = 3 + l1Clusters // header, refcount table, refcount block, L1 table
  const name = Buffer.from(backing?.path ?? '')
  if (name.length > LONGEST_BACKING_NAME) {
    throw new VMKitError('INVALID_CONFIG', `The path of a backing file may have ${LONGEST_BACKING_NAME} bytes, got ${name.length}`, {
      driver: DRIVER,
      field: 'config.disk.image',
    })
  }
  const extensions = backing ? Buffer.concat([formatExtension(backing.format), Buffer.alloc(8)]) : Buffer.alloc(8)
  const header = Buffer.alloc(HEADER_LENGTH)
  header.writeUInt32BE(MAGIC, 0)
  header.writeUInt32BE(VERSION, 4)
  header.writeBigUInt64BE(BigInt(backing ? HEADER_LENGTH + extensions.length : 0), 8)
  header.writeUInt32BE(name.length, 16)
  header.writeUInt32BE(CLUSTER_BITS, 20)
  header.writeBigUInt64BE(BigInt(virtualSize), 24)
  header.writeUInt32BE(l1Entries, 36)
  header.writeBigUInt64BE(BigInt(3 * CLUSTER), 40)
  header.writeBigUInt64BE(BigInt(CLUSTER), 48)
  header.writeUInt32BE(1, 56)
  header.writeUInt32BE(REFCOUNT_ORDER, 96)
  header.writeUInt32BE(HEADER_LENGTH, 100)

  const table = Buffer.alloc(8)
  table.writeBigUInt64BE(BigInt(2 * CLUSTER))
  const counts = Buffer.alloc(clusters * 2)
  for (let i = 0; i < clusters; i++) counts.writeUInt16BE(1, i * 2)
  return {
    writes: [
      { at: 0, bytes: Buffer.concat([header, extensions, name]) },
      { at: CLUSTER, bytes: table },
      { at: 2 * CLUSTER, bytes: counts },
    ],
    length: clusters * CLUSTER,
  }
}

function formatExtension(format: string): Buffer {
  const data = Buffer.from(format)
  const bytes = Buffer.alloc(8 + Math.ceil(data.length / 8) * 8)
  bytes.writeUInt32BE(BACKING_FORMAT, 0)
  bytes.writeUInt32BE(data.length, 4)
  data.copy(bytes, 8)
  return bytes
}

function damaged(reason: string): VMKitError {
  return new VMKitError('INVALID_CONFIG', `This is no sound qcow2 image: ${reason}`, { driver: DRIVER })
}
