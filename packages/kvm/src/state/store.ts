/**
 * The state folder: `machines/<id>/` is a machine, `names/<name>` is a link that holds its id. The link is what makes a machine
 * be there: making it fails when the name is taken, and there is no instant at which half a machine can be seen.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync, unlinkSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type MachineConfig, VMKitError } from '@vmkit/core/driver'
import { errno, type Identity, isAlive, ownIdentity, readJson, signalProcess, writeJson } from '@vmkit/core/state-folder'
import { DRIVER, notFound, systemError } from '../errors.js'
import type { Attachment } from '../net/address.js'
import type { BootPlan } from '../qemu/machine-spec.js'
import { type MachineFolder, machineFolder } from './machine-folder.js'
import type { Run } from './run.js'

const FORMAT = 1
const ID = /^[0-9a-f]{12}$/
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/

/** What is kept of a machine. Later changes (resize, devices, a restored config) replace the whole file. */
export interface MachineRecord {
  id: string
  name: string
  createdAt: number
  uuid: string
  /** One per NIC, in order. */
  macs: string[]
  config: MachineConfig
  boot: BootPlan
  /** Named networks, in the order of `config.networks`. */
  attachments?: Attachment[]
}

/** A machine and where it lives. */
export interface Machine extends MachineRecord {
  folder: MachineFolder
}

export interface Store {
  readonly stateDir: string
  /** Builds a machine out of sight and makes it appear at once. What `fill` rejects with is the outcome, and nothing is left.
   * @throws `ALREADY_EXISTS` */
  add(
    record: Omit<MachineRecord, 'boot' | 'macs' | 'attachments'>,
    fill: (folder: MachineFolder) => Promise<Pick<MachineRecord, 'boot' | 'macs' | 'attachments'>>,
  ): Promise<Machine>
  /** @throws `NOT_FOUND` */
  get(id: string): Machine
  /** The first half of `add`, for what takes more than one call: the folder of a machine that nobody sees. @throws `ALREADY_EXISTS` */
  prepare(id: string, name: string): MachineFolder
  /** The second half. @throws `ALREADY_EXISTS`; the machine stays out of sight then */
  appear(record: MachineRecord): Machine
  /** Instead of the second half: ends what runs of it, and leaves nothing. */
  abandon(id: string): void
  /** Whether there is such a machine, or a program that lives makes it. */
  holds(id: string): boolean
  /** The id of an id or name. @throws `NOT_FOUND` */
  find(idOrName: string): string
  list(name?: string): Machine[]
  /** Under the machine's lock. */
  update(machine: Machine, changes: Partial<Omit<MachineRecord, 'id' | 'name' | 'createdAt'>>): Machine
  /** Makes it disappear at once, then removes it. Under the machine's lock. */
  remove(machine: Machine): Promise<void>
  /** Removes what crashed creates and deletes left. */
  cleanUp(): void
}

/** A fresh identity: the id is the last part of the UUID. */
export function newIdentity(): { id: string; uuid: string } {
  const uuid = randomUUID()
  return { id: uuid.slice(-12), uuid }
}

/** A MAC of QEMU's own range. */
export function newMac(): string {
  return `52:54:00:${[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`
}

export function store(stateDir: string): Store {
  const names = join(stateDir, 'names')
  const machines = join(stateDir, 'machines')
  const pending = join(stateDir, 'pending')
  const trash = join(stateDir, 'trash')
  const known = new Map<string, { stamp: string; machine: Machine }>()

  function makeFolders(): void {
    for (const folder of [names, machines, pending, trash]) mkdirSync(folder, { recursive: true, mode: 0o700 })
  }

  function get(id: string): Machine {
    if (!ID.test(id)) throw notFound(id)
    const cached = known.get(id)
    const folder = cached?.machine.folder ?? machineFolder(stateDir, id)
    try {
      // Records never change in place, so that their inode and time tell whether a parsed one is still the right one.
      const { ino, mtimeMs } = statSync(folder.record)
      const stamp = `${ino}.${mtimeMs}`
      const machine = cached?.stamp === stamp ? cached.machine : read(folder)
      if (idOf(machine.name) !== id) throw notFound(id)
      known.set(id, { stamp, machine })
      return machine
    } catch (error) {
      known.delete(id)
      if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') throw notFound(id)
      throw systemError(error, { vmId: id })
    }
  }

  function read(folder: MachineFolder): Machine {
    const record = readJson<MachineRecord & { format: number }>(folder.record)
    if (record?.format !== FORMAT || record.id !== folder.id) throw notFound(folder.id)
    const { format: _, ...rest } = record
    return { ...rest, folder }
  }

  /** The id behind a name, `undefined` when the name is free. */
  function idOf(name: string): string | undefined {
    try {
      return readlinkSync(join(names, name))
    } catch (error) {
      if (errno(error) === 'ENOENT' || errno(error) === 'EINVAL') return undefined
      throw error
    }
  }

  function discard(id: string): void {
    // A clone that was to run from the start may run already.
    const qemu = readJson<Run>(machineFolder(stateDir, id).run)?.qemu
    if (qemu) signalProcess(qemu, 'SIGKILL')
    rmSync(join(machines, id), { recursive: true, force: true })
    rmSync(join(pending, id), { force: true })
  }

  function prepare(id: string, name: string): MachineFolder {
    const folder = machineFolder(stateDir, id)
    try {
      makeFolders()
      if (idOf(name) !== undefined) throw taken(name)
      // First who builds it, then the folder: without the one nobody may sweep the other.
      writeJson(join(pending, id), ownIdentity())
      mkdirSync(folder.path, { mode: 0o700 })
      return folder
    } catch (error) {
      discard(id)
      throw systemError(error, { operation: 'create' })
    }
  }

  function appear(record: MachineRecord): Machine {
    const folder = machineFolder(stateDir, record.id)
    try {
      writeJson(folder.record, { format: FORMAT, ...record })
      symlinkSync(record.id, join(names, record.name))
      rmSync(join(pending, record.id), { force: true })
      return { ...record, folder }
    } catch (error) {
      if (errno(error) === 'EEXIST') throw taken(record.name)
      throw systemError(error, { operation: 'create' })
    }
  }

  return {
    stateDir,
    get,
    prepare,
    appear,
    abandon: discard,
    async add(record, fill) {
      const folder = prepare(record.id, record.name)
      try {
        return appear({ ...record, ...(await fill(folder)) })
      } catch (error) {
        discard(record.id)
        throw systemError(error, { operation: 'create' })
      }
    },
    holds(id) {
      // In this order: whoever builds takes its note away only after the machine is there.
      const builder = ID.test(id) ? readJson<Identity>(join(pending, id)) : undefined
      if (builder && isAlive(builder)) return true
      try {
        return get(id).id === id
      } catch (error) {
        if (error instanceof VMKitError && error.code === 'NOT_FOUND') return false
        throw error
      }
    },
    find(idOrName) {
      const id = ID.test(idOrName) && isFolder(join(machines, idOrName)) ? idOrName : NAME.test(idOrName) ? idOf(idOrName) : undefined
      if (id === undefined) throw notFound(idOrName)
      return id
    },
    list(name) {
      const wanted = name === undefined ? namesIn(names) : [name]
      const found: Machine[] = []
      for (const entry of wanted) {
        const id = NAME.test(entry) ? idOf(entry) : undefined
        try {
          if (id !== undefined) found.push(get(id))
        } catch (error) {
          // Deleted since the folder was read, or left by something that is not vmkit.
          if (!(error instanceof VMKitError && error.code === 'NOT_FOUND')) throw error
        }
      }
      return found
    },
    update(machine, changes) {
      const { folder, ...record } = { ...machine, ...changes }
      writeJson(folder.record, { format: FORMAT, ...record })
      known.delete(machine.id)
      return { ...record, folder }
    },
    async remove(machine) {
      const away = join(trash, machine.id)
      try {
        if (idOf(machine.name) !== machine.id) throw notFound(machine.id)
        mkdirSync(trash, { recursive: true, mode: 0o700 })
        unlinkSync(join(names, machine.name))
      } catch (error) {
        if (errno(error) === 'ENOENT') throw notFound(machine.id)
        throw systemError(error, { vmId: machine.id })
      }
      known.delete(machine.id)
      // From here on it is gone for everybody; who cleans up at the same moment may be faster.
      if (moved(machine.folder.path, away)) await rm(away, { recursive: true, force: true })
    },
    cleanUp() {
      for (const entry of namesIn(trash)) rmSync(join(trash, entry), { recursive: true, force: true })
      // Names before machines, so that the record of hardly any has to be read.
      const named = new Set(namesIn(names).map(idOf))
      const building = new Set(namesIn(pending))
      for (const id of namesIn(machines)) {
        if (named.has(id) && !building.has(id)) continue
        // In this order: whoever builds takes its note away only after the name is there.
        const builder = readJson<Identity>(join(pending, id))
        if (builder && isAlive(builder)) continue
        const name = readJson<MachineRecord>(machineFolder(stateDir, id).record)?.name
        if (name !== undefined && idOf(name) === id) rmSync(join(pending, id), { force: true })
        else discard(id)
      }
    },
  }
}

function taken(name: string): VMKitError {
  return new VMKitError('ALREADY_EXISTS', `The name ${JSON.stringify(name)} is taken`, {
    driver: DRIVER,
    operation: 'create',
    field: 'config.name',
  })
}

function moved(from: string, to: string): boolean {
  try {
    renameSync(from, to)
    return true
  } catch (error) {
    if (errno(error) === 'ENOENT') return false
    throw systemError(error)
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if (errno(error) === 'ENOENT') return []
    throw systemError(error)
  }
}
