/**
 * Named volumes: folders beside the machines, `volumes/<name>/data`, which a machine mounts. They outlive machines, and several
 * may use one at a time. In a bundle, and on the way to another host, the content of `config.volumes[n]` is `volume-n.tar`.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type DriverVolumes, type MachineConfig, VMKitError, type VolumeInfo } from '@vmkit/core/driver'
import { errno, readJson, writeJson } from '@vmkit/core/state-folder'
import { DRIVER, systemError } from './errors.js'
import type { MachineFolder } from './state/machine-folder.js'
import type { Store } from './state/store.js'
import { packVolume, unpackVolume } from './volume-content.js'

const RECORD = 'volume.json'
const DATA = 'data'

type Note = Omit<VolumeInfo, 'name'>

const foldersOf = ({ stateDir }: Pick<Store, 'stateDir'>): string => join(stateDir, 'volumes')

/** As QEMU is told it, whose working folder is the machine's: a copy of the state folder is whole. */
export function volumeSource(name: string): string {
  return join('..', '..', 'volumes', name, DATA)
}

/** @returns what it made, or `undefined` when there was one */
function make(store: Store, name: string, labels: Record<string, string>): Note | undefined {
  const folders = foldersOf(store)
  const pending = join(store.stateDir, 'pending', `volume-${name}-${process.pid}`)
  const note: Note = { labels, createdAt: Date.now() }
  try {
    mkdirSync(folders, { recursive: true, mode: 0o700 })
    // It appears as a whole, or not: another program may make the same one now.
    mkdirSync(join(pending, DATA), { recursive: true, mode: 0o755 })
    writeJson(join(pending, RECORD), note)
    renameSync(pending, join(folders, name))
    return note
  } catch (error) {
    rmSync(pending, { recursive: true, force: true })
    if (errno(error) === 'ENOTEMPTY' || errno(error) === 'EEXIST') return undefined
    throw systemError(error, { operation: 'create volume' })
  }
}

/** Those that a machine names and that are not there yet. */
export function ensureVolumes(store: Store, { volumes }: Pick<MachineConfig, 'volumes'>): void {
  for (const { name } of volumes) if (!readJson(join(foldersOf(store), name, RECORD))) make(store, name, {})
}

/** The name that every driver gives it. */
export const volumeFile = (index: number): string => `volume-${index}.tar`

export function packVolumeNamed(store: Store, name: string): AsyncGenerator<Uint8Array> {
  return packVolume(join(foldersOf(store), name, DATA))
}

/** @throws VMKitError `CONFLICT` for a name that is taken, whose content would be overwritten */
export function refuseTakenVolumes(store: Store, { volumes }: Pick<MachineConfig, 'volumes'>): void {
  const found = volumes.find(({ name }) => existsSync(join(foldersOf(store), name)))
  if (found) throw taken(found.name)
}

function taken(name: string): VMKitError {
  return new VMKitError('CONFLICT', `There is a volume ${JSON.stringify(name)} here already, which would be overwritten`, {
    driver: DRIVER,
    field: 'config.volumes',
  })
}

const waiting = (folder: MachineFolder, index: number): string => join(folder.path, `volume-${index}`)

/** The content of `config.volumes[index]` of a machine that nobody sees yet; it waits in the machine's folder, and goes with it. */
export async function fillVolume(folder: MachineFolder, index: number, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  const data = join(waiting(folder, index), DATA)
  mkdirSync(data, { recursive: true, mode: 0o755 })
  await unpackVolume(data, tar, signal)
  writeJson(join(waiting(folder, index), RECORD), { labels: {}, createdAt: Date.now() } satisfies Note)
}

/** Makes volumes of all that waits, right before the machine appears. @returns what takes them away again. @throws VMKitError `CONFLICT` */
export function placeVolumes(store: Store, folder: MachineFolder, { volumes }: Pick<MachineConfig, 'volumes'>): () => void {
  const placed = new Set<string>()
  const undo = (): void => {
    for (const name of placed) rmSync(join(foldersOf(store), name), { recursive: true, force: true })
  }
  for (const [index, { name }] of volumes.entries()) {
    const from = waiting(folder, index)
    // A volume may be mounted twice: it is one all the same.
    if (placed.has(name)) rmSync(from, { recursive: true, force: true })
    else if (existsSync(from)) {
      try {
        mkdirSync(foldersOf(store), { recursive: true, mode: 0o700 })
        renameSync(from, join(foldersOf(store), name))
        placed.add(name)
      } catch (error) {
        undo()
        throw errno(error) === 'ENOTEMPTY' || errno(error) === 'EEXIST' ? taken(name) : systemError(error)
      }
    }
  }
  return undo
}

export function kvmVolumes(store: Store): DriverVolumes {
  return {
    async create(name, labels) {
      const made = make(store, name, labels)
      if (!made) throw new VMKitError('ALREADY_EXISTS', `There is a volume ${JSON.stringify(name)} already`, { driver: DRIVER })
      return { name, ...made }
    },
    async list() {
      return namesIn(foldersOf(store)).flatMap((name) => {
        const note = readJson<Note>(join(foldersOf(store), name, RECORD))
        return note ? [{ name, ...note }] : []
      })
    },
    async remove(name) {
      const folder = join(foldersOf(store), name)
      const user = store.list().find(({ config }) => config.volumes.some((volume) => volume.name === name))
      if (user) {
        throw new VMKitError('CONFLICT', `The volume ${JSON.stringify(name)} is used by the machine ${JSON.stringify(user.name)}`, {
          driver: DRIVER,
          vmId: user.id,
        })
      }
      const away = join(store.stateDir, 'trash', `volume-${name}-${process.pid}`)
      try {
        mkdirSync(join(away, '..'), { recursive: true, mode: 0o700 })
        renameSync(folder, away)
      } catch (error) {
        if (errno(error) === 'ENOENT') throw new VMKitError('NOT_FOUND', `There is no volume ${JSON.stringify(name)}`, { driver: DRIVER })
        throw systemError(error)
      }
      await rm(away, { recursive: true, force: true })
    },
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if (errno(error) === 'ENOENT') return []
    throw systemError(error)
  }
}
