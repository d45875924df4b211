/** An archive that the kernel unpacks behind its initramfs: "newc", as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst has it. */

const REGULAR = 0o100000
const FOLDER = 0o040000
const TRAILER = 'TRAILER!!!'

export interface CpioFile {
  /** Below the initramfs's root; its folder is made. */
  name: string
  content: Uint8Array
}

export function cpioArchive(files: readonly CpioFile[]): Buffer {
  const folders = new Set(files.flatMap(({ name }) => (name.includes('/') ? [name.slice(0, name.indexOf('/'))] : [])))
  return Buffer.concat([
    ...[...folders].map((name) => entry(name, FOLDER | 0o700, Buffer.alloc(0))),
    ...files.map(({ name, content }) => entry(name, REGULAR | 0o600, content)),
    entry(TRAILER, 0, Buffer.alloc(0)),
  ])
}

/** Thirteen fields of eight hexadecimal digits, then name and content, each filled up to a multiple of four bytes. */
function entry(name: string, mode: number, content: Uint8Array): Buffer {
  const text = Buffer.from(`${name}\0`)
  const [inode, owner, links, time, device, check] = [0, 0, 1, 0, 0, 0]
  const fields = [inode, mode, owner, owner, links, time, content.length, device, device, device, device, text.length, check]
  const head = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`)
  return Buffer.concat([padded(Buffer.concat([head, text])), padded(content)])
}

function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
}
