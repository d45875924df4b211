/**
 * The state folder: `machines/<name>/<id>/` per machine, `building/` for what is not there yet or not any more.
 *
 * Renaming a finished folder to `machines/<name>` is the commit of a create: it fails when the name is taken, and there is
 * no instant at which half a machine can be seen. The id below the name keeps an old id from reaching a successor.
 */
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type MachineConfig, VMKitError } from '@vmkit/core/driver'
import { errno, formatIdentity, isAlive, ownIdentity, parseIdentity, randomSuffix, readJson, writeJson } from '@vmkit/core/state-folder'
import { DRIVER, notFound, systemError } from './errors.js'

const FORMAT = 1
const CONFIG_FILE = 'config.json'
const ID = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,62})~[0-9a-f]{12}$/

/** What is kept of a machine from its creation on. */
export interface MachineRecord {
  id: string
  name: string
  createdAt: number
  config: MachineConfig
}

/** A machine and where it lives. */
export interface Machine extends MachineRecord {
  folder: string
}

export interface Store {
  /** Builds a machine and makes it appear at once. @throws `ALREADY_EXISTS` */
  add(record: MachineRecord, fill: (folder: string) => Promise<void>): Promise<void>
  /** @throws `NOT_FOUND` */
  get(id: string): Machine
  /** The id of an id or name. @throws `NOT_FOUND` */
  find(idOrName: string): string
  list(name?: string): Machine[]
  /** Makes it disappear at once, then removes it. */
  remove(machine: Machine): Promise<void>
  /** Removes what crashed creates and deletes left. */
  cleanUp(): void
}

/** Nothing for a machine that was deleted since somebody read of it, or a folder that is not vmkit's. */
export function ifThere<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch (error) {
    if (error instanceof VMKitError && error.code === 'NOT_FOUND') return undefined
    throw error
  }
}

export function newId(name: string): string {
  return `${name}~${randomSuffix()}`
}

export function store(stateDir: string): Store {
  const machines = join(stateDir, 'machines')
  const building = join(stateDir, 'building')

  function folderOf(id: string): string {
    const name = ID.exec(id)?.[1]
    if (name === undefined) throw notFound(id)
    return join(machines, name, id)
  }

  function scratch(): string {
    return join(building, `${formatIdentity(ownIdentity())}.${randomSuffix()}`)
  }

  function idsOf(name: string): string[] {
    return namesIn(join(machines, name)).filter((id) => ID.exec(id)?.[1] === name)
  }

  function get(id: string): Machine {
    const folder = folderOf(id)
    try {
      const record = readJson<MachineRecord & { format: number }>(join(folder, CONFIG_FILE))
      if (record?.format !== FORMAT || record.id !== id) throw notFound(id)
      return { ...record, folder }
    } catch (error) {
      throw systemError(error, { vmId: id })
    }
  }

  function list(name?: string): Machine[] {
    const names = name === undefined ? namesIn(machines) : [name]
    return names.flatMap((entry) => idsOf(entry).flatMap((id) => ifThere(() => get(id)) ?? []))
  }

  function cleanUp(): void {
    for (const entry of namesIn(building)) {
      const owner = parseIdentity(entry.slice(0, entry.lastIndexOf('.')))
      if (owner && isAlive(owner)) continue
      rmSync(join(building, entry), { recursive: true, force: true })
    }
  }

  return {
    async add(record, fill) {
      const temporary = scratch()
      const folder = join(temporary, record.id)
      const { name } = record
      try {
        mkdirSync(machines, { recursive: true, mode: 0o711 })
        mkdirSync(folder, { recursive: true, mode: 0o700 })
        await fill(folder)
        writeJson(join(folder, CONFIG_FILE), { format: FORMAT, ...record })
        renameSync(temporary, join(machines, name))
      } catch (error) {
        rmSync(temporary, { recursive: true, force: true })
        if (errno(error) === 'ENOTEMPTY' || errno(error) === 'EEXIST') {
          throw new VMKitError('ALREADY_EXISTS', `The name ${JSON.stringify(name)} is taken`, {
            driver: DRIVER,
            operation: 'create',
            field: 'config.name',
          })
        }
        throw systemError(error, { operation: 'create' })
      }
    },
    get,
    find(idOrName) {
      if (ID.test(idOrName)) return get(idOrName).id
      const id = list(safeName(idOrName))[0]?.id
      if (id === undefined) throw notFound(idOrName)
      return id
    },
    list,
    async remove(machine) {
      const trash = scratch()
      mkdirSync(building, { recursive: true, mode: 0o700 })
      try {
        renameSync(join(machines, machine.name), trash)
      } catch (error) {
        if (errno(error) === 'ENOENT') throw notFound(machine.id)
        throw systemError(error, { vmId: machine.id })
      }
      // A few files go faster at once than through the thread pool; what the machine made may be much.
      if (namesIn(join(trash, machine.id, 'root')).length === 0) rmSync(trash, { recursive: true, force: true })
      else await rm(trash, { recursive: true, force: true })
    },
    cleanUp,
  }

  function safeName(name: string): string {
    if (!ID.test(`${name}~000000000000`)) throw notFound(name)
    return name
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') return []
    throw systemError(error)
  }
}
