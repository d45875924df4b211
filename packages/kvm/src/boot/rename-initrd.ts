/** A copy of a vmkit guest's initramfs for a machine of another name. */
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'
import { cpioArchive } from './cpio.js'
import { decodeRecords, encodeRecords, type Records } from './run-spec.js'

const HEADER_LENGTH = 110
const SPEC = 'spec'

/** The kernel unpacks the archives in turn, and the guest takes the last host name that it finds. */
export async function renameInitrd(from: string, to: string, hostname: string): Promise<void> {
  const initrd = await readFile(from)
  await writeFile(to, initrd, { mode: 0o600, flag: 'wx' })
  await appendFile(to, cpioArchive([{ name: SPEC, content: Buffer.concat([lastSpec(initrd), encodeRecords([['hostname', hostname]])]) }]))
}

/** What the machine runs. */
export function lastRecords(initrd: Buffer): Records {
  return decodeRecords(lastSpec(initrd))
}

/** Of the archives as `cpio.ts` writes them, behind what the kernel is given compressed. */
function lastSpec(initrd: Buffer): Buffer {
  const name = Buffer.from(`${SPEC}\0`)
  for (let at = initrd.lastIndexOf(name); at >= HEADER_LENGTH; at = initrd.lastIndexOf(name, at - 1)) {
    const header = initrd.toString('latin1', at - HEADER_LENGTH, at)
    if (!/^070701[0-9a-f]{104}$/.test(header)) continue
    const size = Number.parseInt(header.slice(54, 62), 16)
    const start = at - HEADER_LENGTH + Math.ceil((HEADER_LENGTH + name.length) / 4) * 4
    return initrd.subarray(start, start + size)
  }
  throw new VMKitError('BACKEND_ERROR', 'The machine boots from an initramfs that vmkit did not make', { driver: DRIVER })
}
