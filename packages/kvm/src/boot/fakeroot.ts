/** Owners, modes and device files for mke2fs without root: the state that fakeroot(1) loads by `-i`. */
import { lstat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface OwnerRecord {
  /** In the image: absolute. */
  path: string
  type: string
  uid: number
  gid: number
  /** Permission bits with setuid, setgid and sticky. */
  mode: number
  device?: { major: number; minor: number }
}

/** stat(2), st_mode. */
const TYPES: Readonly<Record<string, number>> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  'character-device': 0o020000,
  'block-device': 0o060000,
  fifo: 0o010000,
}

/** One line per inode. Devices and FIFOs stand as empty files in the folder. */
export async function fakerootState(folder: string, records: readonly OwnerRecord[], path: string): Promise<void> {
  const lines: string[] = []
  for (const record of records) {
    const real = join(folder, record.path)
    const kind = TYPES[record.type] ?? 0o100000
    if (record.device || record.type === 'fifo') await writeFile(real, '', { flag: 'a' })
    const { dev, ino, nlink } = await lstat(real)
    const mode = kind | record.mode
    const rdev = record.device ? makeDevice(record.device) : 0
    lines.push(
      `dev=${dev.toString(16)},ino=${ino},mode=${mode.toString(8)},uid=${record.uid},gid=${record.gid},nlink=${nlink},rdev=${rdev}\n`,
    )
  }
  await writeFile(path, lines.join(''), { mode: 0o600 })
}

/** makedev(3) for numbers of 12 and 20 bits. */
function makeDevice({ major, minor }: { major: number; minor: number }): number {
  return (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~0xff) << 12)
}
