/**
 * Named volumes: folders beside the machines, `volumes/<name>/data`, which a machine mounts by 9p. They outlive machines, and several
 * may use one at a time.
 */
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type DriverVolumes, type MachineConfig, VMKitError, type VolumeInfo } from '@vmkit/core/driver'
import { errno, readJson, writeJson } from '@vmkit/core/state-folder'
import { DRIVER, systemError } from './errors.js'
import type { Store } from './state/store.js'

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
