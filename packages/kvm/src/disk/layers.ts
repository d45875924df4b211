/**
 * The disks of a machine are chains of qcow2 files in its folder. Only the top one is ever written; a snapshot puts a new
 * top over it. Backing files in the folder are named by their bare name, so that a clone is made of hard links: the file
 * system counts who still needs a layer, and no delete can take another machine's.
 */
import { randomBytes } from 'node:crypto'
import { type FileHandle, link, open, readdir, rm, stat } from 'node:fs/promises'
import { basename, isAbsolute, join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { DRIVER, systemError } from '../errors.js'
import { createDisk } from './image-file.js'
import { readHeader } from './qcow2.js'

const LAYER = /^[A-Za-z][A-Za-z0-9-]*(\.[0-9a-f]{12})?\.qcow2$/
const FIRST_CLUSTER = 65536
/** A chain that is longer is a loop, or a machine with more snapshots than QEMU would open. */
const LONGEST_CHAIN = 200

/** A file name for the next top of a disk. */
export function newLayerName(disk: string): string {
  return `${disk}.${randomBytes(6).toString('hex')}.qcow2`
}

export interface Chain {
  /** Bare names of the layers in the machine's folder, top first. */
  layers: string[]
  /** Absolute path of what they stand on, when that is a file of somebody else. */
  base?: string
  virtualSize: number
}

/** Follows the backing files down, through the machine's own layers. */
export async function chainOf(folder: string, top: string): Promise<Chain> {
  const layers: string[] = []
  let virtualSize = 0
  let name: string | undefined = top
  while (name !== undefined) {
    if (isAbsolute(name)) return { layers, base: name, virtualSize }
    if (!LAYER.test(name) || layers.length >= LONGEST_CHAIN)
      throw new VMKitError(
        'BACKEND_ERROR',
        `The disk ${JSON.stringify(top)} stands on ${JSON.stringify(name)}, which is no layer of its machine`,
        { driver: DRIVER },
      )
    layers.push(name)
    const header = await headerOf(join(folder, name))
    if (layers.length === 1) virtualSize = header.virtualSize
    name = header.backing
  }
  return { layers, virtualSize }
}

async function headerOf(path: string) {
  let file: FileHandle | undefined
  try {
    file = await open(path, 'r')
    const start = Buffer.alloc(FIRST_CLUSTER)
    const { bytesRead } = await file.read(start, 0, start.length, 0)
    return readHeader(start.subarray(0, bytesRead))
  } catch (error) {
    throw systemError(error, { hint: `The disk layer ${basename(path)} cannot be read` })
  } finally {
    await file?.close()
  }
}

/** A new top over `top`, in the same folder. @returns its bare name */
export async function addLayer(folder: string, disk: string, top: string): Promise<string> {
  const { virtualSize } = await chainOf(folder, top)
  const name = newLayerName(disk)
  await createDisk({ path: join(folder, name), base: { path: top, format: 'qcow2', virtualSize } })
  return name
}

/** The layers below and with `top`, in another machine's folder of the same file system, under the same names. */
export async function shareLayers(from: string, top: string, to: string): Promise<void> {
  const { layers } = await chainOf(from, top)
  for (const name of layers) {
    await link(join(from, name), join(to, name)).catch((error: unknown) => {
      // Two disks of one machine may stand on one layer.
      if (errno(error) !== 'EEXIST') throw systemError(error)
    })
  }
}

/** Removes the layers of `folder` that none of `tops` stands on. */
export async function dropUnusedLayers(folder: string, tops: Iterable<string>): Promise<void> {
  const used = new Set<string>()
  for (const top of tops) for (const name of (await chainOf(folder, top)).layers) used.add(name)
  for (const name of await readdir(folder)) if (LAYER.test(name) && !used.has(name)) await rm(join(folder, name), { force: true })
}

/** Bytes on the host's disk of those layers. */
export async function bytesOf(folder: string, layers: readonly string[]): Promise<number> {
  const sizes = await Promise.all(layers.map(async (name) => (await stat(join(folder, name))).blocks * 512))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Whether vmkit may put a layer over it: a qcow2 in the machine's folder. */
export function isLayer(path: string): boolean {
  return LAYER.test(path)
}
