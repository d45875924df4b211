/** A machine of the driver that runs the counting guest. */
import { appendFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CallContext, type MachineConfig, VMKitError } from '@vmkit/core/driver'
import { untilChange } from '@vmkit/core/state-folder'
import { createDisk } from '../src/disk/image-file.js'
import { type Host, makeHost } from '../src/host.js'
import { remove, start } from '../src/lifecycle.js'
import { type MigrationOptions, resolveOptions } from '../src/options.js'
import { type Machine, newIdentity, newMac } from '../src/state/store.js'
import { temporaryFolder } from './bare-qemu.js'
import { type Count, counts, writeCounterImage } from './counter.js'

export const ctx: CallContext = { signal: new AbortController().signal, deadline: undefined, report: () => {} }

export interface Bed extends AsyncDisposable {
  readonly host: Host
  readonly stateDir: string
  /** A machine that runs, and counts. */
  counting(name?: string, options?: Record<string, unknown>): Promise<Machine>
}

export async function bed(migration: MigrationOptions = {}): Promise<Bed> {
  const folder = temporaryFolder()
  const host = makeHost(resolveOptions({ stateDir: folder.path, accel: 'tcg', migration }))
  const image = join(folder.path, 'counter,"image".raw')
  writeCounterImage(image)
  return {
    host,
    stateDir: folder.path,
    async counting(name = 'counter', options = {}) {
      const config = machineConfig(name, options)
      const machine = await host.store.add({ ...newIdentity(), name, createdAt: Date.now(), config }, async ({ path }) => {
        await createDisk({ path: join(path, 'disk.qcow2'), base: { path: image, format: 'raw', virtualSize: 2 ** 20 } })
        return {
          boot: {
            kind: 'disk' as const,
            disks: [{ id: 'disk', path: 'disk.qcow2', format: 'qcow2' as const, bootIndex: 0 }],
            channels: [],
            agent: 'no' as const,
            reportsExit: false,
          },
          macs: [newMac()],
        }
      })
      await start(host, machine, ctx)
      await untilCount(machine, (all) => all.length > 100)
      return machine
    },
    async [Symbol.asyncDispose]() {
      for (const machine of host.store.list()) {
        await remove(host, machine, true, ctx).catch((error: unknown) => {
          if (!(error instanceof VMKitError && error.code === 'NOT_FOUND')) throw error
        })
      }
      folder[Symbol.dispose]()
    },
  }
}

function machineConfig(name: string, options: Record<string, unknown> = {}): MachineConfig {
  return {
    name,
    memory: 64 * 2 ** 20,
    env: {},
    tty: false,
    stdin: false,
    mounts: [],
    volumes: [],
    ports: [],
    networks: [],
    devices: [],
    labels: {},
    stop: { graceMs: 0 },
    pull: 'missing',
    files: [],
    driverOptions: { kvm: { network: { kind: 'none' }, ...options } },
  }
}

/** All that it has said, over all runs. */
export function said({ folder }: Machine): Count[] {
  return counts(readFileSync(folder.consoleLog, 'utf8'))
}

/** While it is stopped: a number that the last run was cut off in would run on in the first one of the next. @returns how many there are */
export function endLine(machine: Machine): number {
  appendFileSync(machine.folder.consoleLog, '\n')
  return said(machine).length
}

export async function untilCount(machine: Machine, enough: (all: Count[]) => boolean): Promise<Count[]> {
  return untilChange(machine.folder.path, AbortSignal.timeout(60_000), 100, () => {
    const all = said(machine)
    return enough(all) ? all : undefined
  })
}

/**
 * What the second of two runs said. Between them may stand a line that is the end of one number behind the half of another: the first
 * run was cut off in the middle of a line, or the second woke there. None when there is only one run.
 */
export function secondRun(all: readonly Count[]): Count[] {
  const seam = all.findIndex(({ memory }, index) => index > 0 && memory !== (all[index - 1]?.memory ?? 0) + 1)
  if (seam < 0) return []
  const behind = all.slice(seam)
  return problemOf(behind.slice(0, 2)) === undefined ? behind : behind.slice(1)
}

/** Fails unless each number is one more than the last, and the disk always held the number of the time before. */
export function problemOf(all: readonly Count[]): string | undefined {
  for (const [index, { memory, disk }] of all.entries()) {
    const previous = all[index - 1]
    if (previous && memory !== previous.memory + 1) return `${memory} came after ${previous.memory}`
    if (disk !== undefined && disk !== memory - 64) return `at ${memory} the disk held ${disk}`
  }
  return undefined
}
