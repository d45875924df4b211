/**
 * A guest of one sector that counts aloud. It prints a number every millisecond to COM1; every 64th also reads the number
 * that it wrote to its disk the time before, prints it, and writes the new one. So a line `128 64` says that memory and disk
 * are of one instant. Boots in well under a second, needs no Linux.
 */
import { writeFileSync } from 'node:fs'

// 16-bit x86, org 0x7c00: set the timer to 1 kHz; loop: hlt, count, print; each 64th: read sector 2 by INT 13h, print what
// it holds, write the count there.
const CODE = `
fa31c08ed88ec08ed0bc007c8816957cb036e643b8a904e64088e0e640fbf466
ff06967c66a1967ce83d00f606967c3f751eb020e84f00b402e81b0066a1007e
e8250066a1967c66a3007eb403e80700b00ae83100ebc7b001b9020030f68a16
957cbb007ecd13c366bb0a00000031c96631d266f7f3524166 85c075f3580430
e80300e2f8c350bafd03eca82074fb58baf803eec30000000000`

const SECTOR = 512

/** A raw disk image of one MiB. */
export function writeCounterImage(path: string, bytes = 2 ** 20): void {
  const code = Buffer.from(CODE.replace(/\s/g, ''), 'hex')
  const image = Buffer.alloc(bytes)
  code.copy(image)
  image.writeUInt16LE(0xaa55, SECTOR - 2)
  writeFileSync(path, image)
}

export interface Count {
  /** What it counted in memory. */
  memory: number
  /** What it read from its disk, every 64th time. */
  disk?: number
}

/** The whole lines of a serial log; what the firmware says is dropped. */
export function counts(log: string): Count[] {
  const whole = log.slice(0, log.lastIndexOf('\n') + 1)
  return whole
    .split('\n')
    .map((line) => /^(\d+)(?: (\d+))?\r?$/.exec(line.trim()))
    .filter((match) => match !== null)
    .map((match) => ({ memory: Number(match[1]), ...(match[2] === undefined ? {} : { disk: Number(match[2]) }) }))
}
