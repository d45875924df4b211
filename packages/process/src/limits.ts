import { join } from 'node:path'
import { lazily, type MachineConfig, type ResizeRequest, VMKitError, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'
import { readJson, withLock, writeJson } from '@vmkit/core/state-folder'
import { type Controller, controllersOf, type Limits } from './cgroup.js'
import { DRIVER, invalidState, systemError } from './errors.js'
import { record } from './events.js'
import type { Host } from './host.js'
import { moveIn, prepareCgroup } from './machine-cgroup.js'
import { statusOf } from './run.js'
import type { Machine } from './store.js'
import { membersOf } from './tree.js'

/** Options of one machine, under `driverOptions.process`. */
export interface ProcessMachineOptions {
  /** Put it in a control group although it has no limits: pause, stop and metrics are then the kernel's. */
  cgroup?: boolean
}

const schema = lazily(() => z.strictObject({ cgroup: z.optional(z.boolean()) }))

/** @throws VMKitError `INVALID_CONFIG` naming the option */
function machineOptions(config: MachineConfig): ProcessMachineOptions {
  return validate(schema(), config.driverOptions[DRIVER] ?? {}, {
    root: 'config.driverOptions.process',
    driver: DRIVER,
    operation: 'create',
  })
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
    return readJson<Limits>(join(machine.folder, FILE)) ?? {}
  } catch (error) {
    throw systemError(error, { vmId: machine.id })
  }
}

function defined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as T
}

/** The new limits hold now and in later runs. A machine that had none gets its groups now. */
export async function resize(host: Host, machine: Machine, request: ResizeRequest, signal: AbortSignal): Promise<void> {
  await withLock(machine, 'resize', signal, async () => {
    const { state, run } = statusOf(machine)
    if (!run || (state !== 'running' && state !== 'paused')) throw invalidState(machine.id, 'resize', state)
    const wanted = defined({ ...request })
    const groups = host.cgroups()
    checkLimits(wanted, groups.missing, 'resize')
    const limits = { ...limitsOf(machine), ...wanted }
    const cgroup = prepareCgroup(machine, limits, groups)
    // What it used before is not counted in a group it enters now.
    while (moveIn(cgroup, membersOf(machine, run)) > 0) signal.throwIfAborted()
    writeJson(join(machine.folder, FILE), { ...resized(machine), ...wanted })
    record(host.options.stateDir, 'resized', machine.id)
  })
}

/** @throws VMKitError `UNSUPPORTED` naming the limit that the host cannot hold */
export function checkLimits(limits: Limits, missing: Readonly<Partial<Record<Controller, string>>>, operation: 'create' | 'resize'): void {
  const fields: Record<Controller, string> = { cpu: 'cpus', memory: 'memory', pids: 'pids' }
  for (const controller of controllersOf(limits)) {
    const reason = missing[controller]
    if (reason === undefined) continue
    throw new VMKitError('UNSUPPORTED', `\`${fields[controller]}\` cannot be held here: ${reason}`, {
      driver: DRIVER,
      operation,
      field: `${operation === 'create' ? 'config' : 'request'}.${fields[controller]}`,
      capability: `limits.${controller}`,
    })
  }
}
