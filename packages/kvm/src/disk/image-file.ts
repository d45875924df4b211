/** Disk images as files: what one is, and a new overlay over it. */
import { type FileHandle, open, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { invalidConfig, VMKitError } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { DRIVER, systemError } from '../errors.js'
import { emptyOverlay, isQcow2, readHeader } from './qcow2.js'

export interface DiskImage {
  /** Absolute. */
  path: string
  format: 'qcow2' | 'raw'
  /** Bytes that the guest sees. */
  virtualSize: number
  backing?: string
}

const FIRST_CLUSTER = 65536
const SECTOR = 512

/** Formats that QEMU would read as well, by their first bytes: taken for raw they would be a disk of rubbish. */
const OTHERS: readonly { magic: string; name: string }[] = [
  { magic: 'KDMV', name: 'vmdk' },
  { magic: '# Disk DescriptorFile', name: 'vmdk' },
  { magic: 'vhdxfile', name: 'vhdx' },
  { magic: 'conectix', name: 'vpc' },
  { magic: '<<< ', name: 'vdi' },
  { magic: 'QED\0', name: 'qed' },
]

/**
 * @param field the config field that named the file, for the error
 * @throws VMKitError `IMAGE_NOT_FOUND`, `PERMISSION_DENIED`, `INVALID_CONFIG` for a format that vmkit does not boot
 */
export async function inspectDisk(path: string, field: string): Promise<DiskImage> {
  let file: FileHandle | undefined
  try {
    file = await open(path, 'r')
    const stats = await file.stat()
    if (!stats.isFile()) throw invalidConfig(field, 'a file with a disk image', path, { driver: DRIVER })
    const start = Buffer.alloc(Math.min(FIRST_CLUSTER, stats.size))
    await file.read(start, 0, start.length, 0)
    if (isQcow2(start)) {
      const { virtualSize, backing } = readHeader(start)
      return { path: resolve(path), format: 'qcow2', virtualSize, ...(backing === undefined ? {} : { backing }) }
    }
    const other = OTHERS.find(({ magic }) => start.subarray(0, magic.length).equals(Buffer.from(magic)))
    if (other) {
      throw invalidConfig(field, `a qcow2 or raw image (\`qemu-img convert -O qcow2\` makes one of ${other.name})`, path, {
        driver: DRIVER,
      })
    }
    return { path: resolve(path), format: 'raw', virtualSize: Math.ceil(stats.size / SECTOR) * SECTOR }
  } catch (error) {
    if (error instanceof VMKitError) throw error.with({ driver: DRIVER, field })
    if (errno(error) === 'ENOENT')
      throw new VMKitError('IMAGE_NOT_FOUND', `There is no disk image ${JSON.stringify(path)}`, { driver: DRIVER, field, cause: error })
    throw systemError(error, { field })
  } finally {
    await file?.close()
  }
}

export interface NewDisk {
  /** Where; must not exist. */
  path: string
  /** Bytes; default: those of the base. */
  size?: number
  /** A file in the same folder by its bare name, any other by its absolute path. */
  base?: Pick<DiskImage, 'path' | 'format' | 'virtualSize'>
}

/**
 * An empty disk, or an overlay: the base is only read from now on. Takes well under a millisecond, whatever the size.
 * @throws VMKitError `INVALID_CONFIG` naming `config.disk.size` when it is smaller than the base
 */
export async function createDisk({ path, size, base }: NewDisk): Promise<void> {
  const virtualSize = size ?? base?.virtualSize
  if (virtualSize === undefined || virtualSize <= 0)
    throw invalidConfig('config.disk.size', 'a size, or an image that has one', size, { driver: DRIVER })
  if (base && virtualSize < base.virtualSize)
    throw invalidConfig('config.disk.size', `at least the ${base.virtualSize} bytes of the image`, size, { driver: DRIVER })
  const plan = emptyOverlay(Math.ceil(virtualSize / SECTOR) * SECTOR, base)
  let file: FileHandle | undefined
  try {
    file = await open(path, 'wx', 0o600)
    for (const { at, bytes } of plan.writes) await file.write(bytes, 0, bytes.length, at)
    await file.truncate(plan.length)
  } catch (error) {
    // What exists already is somebody's disk.
    if (errno(error) !== 'EEXIST') await rm(path, { force: true })
    throw systemError(error, { field: 'config.disk' })
  } finally {
    await file?.close()
  }
}
