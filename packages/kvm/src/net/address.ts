/** Addresses of named networks: a /24 each, `.1` is the host's, the rest are machines'. Pure. */
import { createHash } from 'node:crypto'

/** What a machine has in one network, from its creation to its end. */
export interface Attachment {
  network: string
  address: string
  mac: string
}

export const MASK = '255.255.255.0'
export const PREFIX_BITS = 24
const HOST = 1
const FIRST = 2
const LAST = 254

/** `10.86.5`, of `10.86.0.0/16` and 5. */
export function prefixOf(range: string, third: number): string {
  const [first, second] = range.split('.')
  return `${first}.${second}.${third}`
}

export function hostAddress(prefix: string): string {
  return `${prefix}.${HOST}`
}

/** Those that machines may have, lowest first. */
export function machineAddresses(prefix: string): string[] {
  return Array.from({ length: LAST - FIRST + 1 }, (_, index) => `${prefix}.${FIRST + index}`)
}

/** For errors. */
export function rangeOf(prefix: string): string {
  return `an address from ${prefix}.${FIRST} to ${prefix}.${LAST}`
}

/**
 * Of the address, below QEMU's own `52:54`: who has an address after another one also has its hardware address, so that what other
 * guests remember of it stays true.
 */
export function macOf(address: string): string {
  return ['52:54', ...address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'))].join(':')
}

/** One machine's, and no group's (IEEE 802: the lowest bit of the first byte). */
export function isUnicastMac(mac: string): boolean {
  return Number.parseInt(mac.slice(0, 2), 16) % 2 === 0 && !/^00(:00){5}$/.test(mac)
}

/** The kernel takes 15 bytes (IFNAMSIZ). An id of a machine is never used again. */
export function tapName(id: string, index: number): string {
  return `vmkitt${createHash('sha256').update(`${id} ${index}`).digest('hex').slice(0, 9)}`
}

/** Networks of /proc/net/route (proc(5): hexadecimal numbers in the byte order of the host, which is little-endian), without the default. */
export function parseRoutes(text: string): { device: string; destination: number; mask: number }[] {
  const rows = text.trim().split('\n').slice(1)
  return rows.flatMap((row) => {
    const [device = '', destination = '', , , , , , mask = ''] = row.split(/\s+/)
    const [network, bits] = [destination, mask].map((hex) => Buffer.from(hex.padStart(8, '0'), 'hex').readUInt32LE(0)) as [number, number]
    return bits === 0 ? [] : [{ device, destination: network, mask: bits }]
  })
}

/** Whether a route reaches into the /24. */
export function overlaps(prefix: string, { destination, mask }: { destination: number; mask: number }): boolean {
  const [first = 0, second = 0, third = 0] = prefix.split('.').map(Number)
  const own = ((first << 24) | (second << 16) | (third << 8)) >>> 0
  const common = (mask & 0xffffff00) >>> 0
  return (own & common) >>> 0 === (destination & common) >>> 0
}
