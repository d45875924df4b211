/** The groups of one machine, whichever version the host has. */
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { limitOf } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import {
  type CgroupMetrics,
  type CgroupRecord,
  type CgroupVersion,
  type Limits,
  parseMounts,
  parseOwnGroups,
  parsePids,
  readText,
  removeFolder,
  writeText,
} from './cgroup.js'
import { cgroupV1, freezeV1, metricsV1 } from './cgroup-v1.js'
import { cgroupV2, freezeV2, metricsV2 } from './cgroup-v2.js'
import { systemError } from './errors.js'
import type { Machine } from './store.js'

const FILE = 'cgroup.json'
const REMOVE_MS = 2000
const FREEZE_MS = 2000

/** What this host has. A hybrid host keeps its controllers in version 1. */
export function detectCgroups(): CgroupVersion {
  const mounts = parseMounts(readText('/proc/self/mountinfo') ?? '')
  const own = parseOwnGroups(readText('/proc/self/cgroup') ?? '')
  const unified = mounts.find(({ type }) => type === 'cgroup2')
  const controllersInV1 = mounts.some(
    ({ type, options }) => type === 'cgroup' && ['cpu', 'memory', 'pids'].some((name) => options.includes(name)),
  )
  return unified && !controllersInV1 ? cgroupV2(unified, own.get('') ?? '/') : cgroupV1(mounts, own)
}

export function cgroupOf(machine: Machine): CgroupRecord | undefined {
  const text = readText(join(machine.folder, FILE))
  return text === undefined ? undefined : (JSON.parse(text) as CgroupRecord)
}

/** Makes the groups that are not there yet, and limits all. */
export function prepareCgroup(machine: Machine, limits: Limits, host: CgroupVersion): CgroupRecord {
  const made = host.create(machine.id, limits)
  const before = cgroupOf(machine)
  // An app in another group made others: they are kept until the machine goes, those of now come first.
  const record = { ...made, folders: { ...(before?.version === made.version ? before.folders : {}), ...made.folders } }
  // Written after the groups are there: what a crash in between leaves is empty groups with the id of a machine in their name.
  writeFileSync(join(machine.folder, FILE), JSON.stringify(record), { mode: 0o600 })
  return record
}

/** Moves processes into the groups; how many were not there yet. */
export function moveIn(record: CgroupRecord, members: readonly { pid: number }[]): number {
  let moved = 0
  for (const folder of cgroupFolders(record)) {
    const there = new Set(parsePids(readText(join(folder, 'cgroup.procs'))))
    for (const { pid } of members) {
      if (there.has(pid)) continue
      moved += 1
      try {
        writeFileSync(join(folder, 'cgroup.procs'), String(pid))
      } catch (error) {
        if (errno(error) !== 'ESRCH') throw systemError(error)
      }
    }
  }
  return moved
}

export function cgroupFolders(record: CgroupRecord | undefined): string[] {
  return [...new Set(Object.values(record?.folders ?? {}))]
}

export function cgroupPids(record: CgroupRecord): number[] {
  return [...new Set(cgroupFolders(record).flatMap((folder) => parsePids(readText(join(folder, 'cgroup.procs')))))]
}

export function cgroupMetrics(record: CgroupRecord): CgroupMetrics {
  return record.version === 1 ? metricsV1(record) : metricsV2(record)
}

/** Whether it can be frozen as a whole. */
export function freezerOf(record: CgroupRecord | undefined): ((frozen: boolean, signal: AbortSignal) => Promise<void>) | undefined {
  const folder = record?.version === 1 ? record.folders.freezer : record?.folders.unified
  if (!record || folder === undefined) return undefined
  const set = record.version === 1 ? freezeV1 : freezeV2
  return async (frozen, signal) => {
    using limit = limitOf(signal, FREEZE_MS)
    while (!set(folder, frozen)) {
      if (limit.signal.aborted) {
        set(folder, false)
        throw systemError(limit.signal.reason, { hint: 'A task that waits in the kernel kept the group from freezing' })
      }
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
}

/** Version 2 kills a group at once, forks included; `false` where that is not there. */
export function killCgroup(record: CgroupRecord): boolean {
  const file = record.version === 2 ? join(record.folders.unified as string, 'cgroup.kill') : ''
  if (file === '' || !existsSync(file)) return false
  writeText(file, '1')
  return true
}

/** Its processes are dead; the kernel may take a moment to let go of them. */
export async function removeCgroup(machine: Machine): Promise<void> {
  const end = Date.now() + REMOVE_MS
  for (const folder of cgroupFolders(cgroupOf(machine))) {
    while (!removeFolder(folder)) {
      if (Date.now() > end) throw systemError(new Error(`The control group ${folder} is still in use`), { vmId: machine.id })
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }
  rmSync(join(machine.folder, FILE), { force: true })
}
