/** The snapshots of a machine, as files in its folder. They die with it. */
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type SnapshotInfo, VMKitError } from '@vmkit/core/driver'
import { errno, readJson, writeJson } from '@vmkit/core/state-folder'
import { bytesOf, chainOf } from '../disk/layers.js'
import { DRIVER } from '../errors.js'
import type { MachineSpec } from '../qemu/machine-spec.js'
import type { MachineFolder } from '../state/machine-folder.js'

const FORMAT = 1

export interface SnapshotRecord {
  format: typeof FORMAT
  tag: string
  createdAt: number
  /** By the id of the disk: the layer that holds what the disk was. */
  disks: Record<string, string>
  /** Only with memory: the QEMU that it was taken from, since another one could not read it. */
  spec?: MachineSpec
  /** The memory is a file to be mapped; the stream holds the devices only. */
  template?: boolean
}

export interface StoredSnapshot extends SnapshotRecord {
  /** QEMU's stream, when it has memory. */
  memoryFile: string
  /** Of a template. */
  ramFile: string
}

/** A tag is whatever people write; a file's name is not. */
function stem(folder: MachineFolder, tag: string): string {
  return join(folder.snapshots, createHash('sha256').update(tag).digest('hex').slice(0, 32))
}

export function memoryFileOf(folder: MachineFolder, tag: string): string {
  return `${stem(folder, tag)}.memory`
}

export function ramFileOf(folder: MachineFolder, tag: string): string {
  return `${stem(folder, tag)}.ram`
}

export function findSnapshot(folder: MachineFolder, tag: string): StoredSnapshot | undefined {
  const record = readJson<SnapshotRecord>(`${stem(folder, tag)}.json`)
  return record && stored(folder, record)
}

function stored(folder: MachineFolder, record: SnapshotRecord): StoredSnapshot {
  return { ...record, memoryFile: memoryFileOf(folder, record.tag), ramFile: ramFileOf(folder, record.tag) }
}

/** @throws VMKitError `NOT_FOUND` */
export function getSnapshot(folder: MachineFolder, tag: string): StoredSnapshot {
  const found = findSnapshot(folder, tag)
  if (!found) throw new VMKitError('NOT_FOUND', `There is no snapshot ${JSON.stringify(tag)}`, { driver: DRIVER, vmId: folder.id })
  return found
}

/** Under the machine's lock. */
export function makeSnapshotFolder(folder: MachineFolder): void {
  mkdirSync(folder.snapshots, { recursive: true, mode: 0o700 })
  removeHalves(folder)
}

/** Of a program that died while it saved: what is not whole, and memory without a record. Under the machine's lock. */
export function removeHalves(folder: MachineFolder): void {
  const names = new Set(namesIn(folder.snapshots))
  for (const name of names) {
    const isHalf = name.endsWith('.part') || (/\.(memory|ram)$/.test(name) && !names.has(name.replace(/(memory|ram)$/, 'json')))
    if (isHalf) rmSync(join(folder.snapshots, name), { force: true })
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path)
  } catch (error) {
    if (errno(error) === 'ENOENT') return []
    throw error
  }
}

export function addSnapshot(folder: MachineFolder, record: Omit<SnapshotRecord, 'format'>): void {
  writeJson(`${stem(folder, record.tag)}.json`, { format: FORMAT, ...record })
}

/** First the record: without it nobody looks for the rest. */
export function removeSnapshot(folder: MachineFolder, tag: string): void {
  rmSync(`${stem(folder, tag)}.json`, { force: true })
  for (const path of [memoryFileOf(folder, tag), ramFileOf(folder, tag)]) rmSync(path, { force: true })
}

export function allSnapshots(folder: MachineFolder): StoredSnapshot[] {
  return namesIn(folder.snapshots)
    .filter((name) => name.endsWith('.json'))
    .map((name) => readJson<SnapshotRecord>(join(folder.snapshots, name)))
    .filter((record) => record !== undefined)
    .map((record) => stored(folder, record))
    .sort((left, right) => left.createdAt - right.createdAt)
}

/** The size is that of the memory and of the layers that the snapshot froze, without what lies below them. */
export async function snapshotInfo(folder: MachineFolder, record: SnapshotRecord): Promise<SnapshotInfo> {
  const { tag, createdAt, spec } = record
  const memory = spec !== undefined
  const layers = await Promise.all(Object.values(record.disks).map(async (top) => (await chainOf(folder.path, top)).layers.slice(0, 1)))
  const disk = await bytesOf(folder.path, layers.flat())
  const stream = statSync(memoryFileOf(folder, tag), { throwIfNoEntry: false })?.size ?? 0
  // With holes.
  const ram = (statSync(ramFileOf(folder, tag), { throwIfNoEntry: false })?.blocks ?? 0) * 512
  const saved = memory ? stream + ram : 0
  return { tag, createdAt, memory, sizeBytes: disk + saved }
}
