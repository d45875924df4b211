import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type MachineConfig, type Missing, type ResizeRequest, validate, VMKitError } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'
import { type Controller, controllersOf, type Limits } from './cgroup.js'
import { DRIVER, errno, invalidState, systemError } from './errors.js'
import { record } from './events.js'
import { cgroupOf, limitCgroup } from './machine-cgroup.js'
import { withLock } from './lock.js'
import { statusOf } from './run.js'
import type { Machine } from './store.js'

/** Options of one machine, under `driverOptions.process`. */
export interface ProcessMachineOptions {
  /** Put it in a control group although it has no limits: pause, stop and metrics are then the kernel's, and `resize` works. */
  cgroup?: boolean
}

const schema = z.strictObject({ cgroup: z.optional(z.boolean()) })

/** @throws VMKitError `INVALID_CONFIG` naming the option */
export function machineOptions(config: MachineConfig): ProcessMachineOptions {
  return validate(schema, config.driverOptions[DRIVER] ?? {}, { root: 'config.driverOptions.process', driver: DRIVER, operation: 'create' })
}

/** A group costs some milliseconds at each start, so only a machine that needs one has one. */
export function needsCgroup(machine: Pick<Machine, 'config'>): boolean {
  return controllersOf(machine.config).length > 0 || machineOptions(machine.config).cgroup === true
}

const FILE = 'limits.json'

/** Those of the config, as the last resize left them. */
export function limitsOf(machine: Machine): Limits {
  const { cpus, memory, pids } = machine.config
  return defined({ cpus, memory, pids, ...resized(machine) })
}

function resized(machine: Machine): Limits {
  try {
    return JSON.parse(readFileSync(join(machine.folder, FILE), 'utf8')) as Limits
  } catch (error) {
    if (errno(error) === 'ENOENT') return {}
    throw systemError(error, { vmId: machine.id })
  }
}

function defined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as T
}

/** The new limits hold now and in later runs. */
export async function resize(stateDir: string, machine: Machine, request: ResizeRequest, signal: AbortSignal): Promise<void> {
  await withLock(machine, 'resize', signal, async () => {
    const { state } = statusOf(machine)
    if (state !== 'running' && state !== 'paused') throw invalidState(machine.id, 'resize', state)
    const cgroup = cgroupOf(machine)
    for (const controller of controllersOf(defined(request))) {
      const there = cgroup?.version === 2 ? cgroup.folders.unified : cgroup?.folders[controller]
      if (there === undefined) throw withoutGroup(machine, controller)
    }
    if (cgroup) limitCgroup(cgroup, defined(request))
    const path = join(machine.folder, FILE)
    writeFileSync(`${path}.new`, JSON.stringify({ ...resized(machine), ...defined(request) }), { mode: 0o600 })
    renameSync(`${path}.new`, path)
    record(stateDir, 'resized', machine.id)
  })
}

function withoutGroup(machine: Machine, controller: Controller): VMKitError {
  return new VMKitError('UNSUPPORTED', `The machine has no ${controller} control group: it was created without that limit`, {
    driver: DRIVER,
    operation: 'resize',
    vmId: machine.id,
    capability: 'resize',
    hint: 'Create it with the limit, or with driverOptions.process.cgroup on cgroup v2',
  })
}

/** What a machine without a group lacks although its host could. */
export function missingWithout(config: MachineConfig): Missing | undefined {
  if (needsCgroup({ config })) return undefined
  return { resize: 'it was created without a limit and so has no control group; give it one, or driverOptions.process.cgroup: true' }
}

/** @throws VMKitError `UNSUPPORTED` naming the limit that the host cannot hold */
export function checkLimits(config: MachineConfig, missing: Readonly<Partial<Record<Controller, string>>>): void {
  const fields: Record<Controller, string> = { cpu: 'cpus', memory: 'memory', pids: 'pids' }
  for (const controller of controllersOf(config)) {
    const reason = missing[controller]
    if (reason === undefined) continue
    throw new VMKitError('UNSUPPORTED', `\`config.${fields[controller]}\` cannot be held here: ${reason}`, {
      driver: DRIVER,
      operation: 'create',
      field: `config.${fields[controller]}`,
      capability: `limits.${controller}`,
    })
  }
}
