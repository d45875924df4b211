import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { VMExit, VMInfo, VMState, VMStatus, VMSummary } from '@vmkit/core/driver'
import { readJson } from '@vmkit/core/state-folder'
import { oomKills } from './cgroup.js'
import { hasLiveClaim } from './claims.js'
import { TASK_STATUS } from './grpc/enums.js'
import type { Process } from './grpc/generated/task_types_pb.js'
import type { Host, Machine } from './host.js'
import { readNetworkState } from './net/state.js'
import { isArmed, willRestart } from './restart.js'

/** Codes above this are what a shim says for a death by signal, and for an `exit` of the same number. */
const LAST_PLAIN_CODE = 128
const KILLED = 137

interface Time {
  seconds: bigint
  nanos: number
}

export function timeOf(time: Time | undefined): number | null {
  // Go's zero time is the year 1.
  if (!time || time.seconds <= 0n) return null
  return Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6)
}

/** How a task ended. The kernel's count of OOM kills tells those apart from other kills; without it, it is not known. */
export function exitFrom(code: number, at: number | null, cgroupsPath: string): VMExit {
  const kills = code === KILLED ? oomKills(cgroupsPath) : 0
  if (kills !== null && kills > 0) return { code, signal: 'SIGKILL', oom: true, reason: 'oom', at }
  return { code, signal: null, oom: kills === null ? null : false, reason: code <= LAST_PLAIN_CODE ? 'exited' : 'unknown', at }
}

/** Nobody saw the end: the host was booted, or the shim was killed. */
const LOST: VMExit = { code: null, signal: null, oom: null, reason: 'lost', at: null }

export function statusOf(machine: Machine, task: Process | undefined): VMStatus {
  const { record } = machine
  const state = stateOf(task)
  if (state === 'stopped') {
    const exit = exitFrom(task?.exitStatus ?? 0, timeOf(task?.exitedAt), record.cgroupsPath)
    return willRestart(machine, exit) ? { state: 'starting', reason: 'the restart policy starts it again', exit } : { state, exit }
  }
  const previous = savedExit(machine)
  if (state === undefined && isBeingStarted(machine, task)) return { state: 'starting', ...(previous ? { exit: previous } : {}) }
  if (state !== undefined) return { state, ...(previous ? { exit: previous } : {}) }
  if (previous) return { state: 'stopped', exit: previous }
  if (!hasStarted(machine)) return { state: 'created' }
  return { state: 'stopped', exit: LOST, reason: 'its task is gone: this host was booted since, or the shim was killed' }
}

/** By the restart monitor, between two runs; or by somebody who holds the machine's lock. */
function isBeingStarted(machine: Machine, task: Process | undefined): boolean {
  if (isArmed(machine)) return true
  const { path } = machine.folder
  if (task) return task.status === TASK_STATUS.created && hasLiveClaim(path)
  return hasStarted(machine) && hasLiveClaim(path, 'start')
}

/** Written before its task is made. */
function hasStarted({ folder }: Machine): boolean {
  return existsSync(join(folder.path, 'started'))
}

/** `undefined` when the task says nothing: there is none, or it was made and not started. */
function stateOf(task: Process | undefined): VMState | undefined {
  switch (task?.status) {
    case TASK_STATUS.running:
      return 'running'
    case TASK_STATUS.paused:
    case TASK_STATUS.pausing:
      return 'paused'
    case TASK_STATUS.stopped:
      return 'stopped'
    case TASK_STATUS.unknown:
      return 'unknown'
    default:
      return undefined
  }
}

/** The exit of the last run, as it was saved when its task went. */
function savedExit({ folder }: Machine): VMExit | undefined {
  // A read that fails takes six times as long as this look, and a list looks at every machine.
  if (!existsSync(folder.exit)) return undefined
  try {
    return readJson<VMExit>(folder.exit)
  } catch {
    return undefined
  }
}

export function summaryOf(host: Host, machine: Machine, task: Process | undefined): VMSummary {
  const { id, name, record } = machine
  return { id, name, driver: host.driver, state: statusOf(machine, task).state, labels: record.config.labels, createdAt: record.createdAt }
}

export function infoOf(host: Host, machine: Machine, task: Process | undefined): VMInfo {
  const status = statusOf(machine, task)
  const isActive = status.state === 'running' || status.state === 'paused'
  const network = isActive ? readNetworkState(machine.folder.network) : undefined
  const { container, record } = machine
  const sharesHost = record.config.networks.some(({ name }) => name === 'host')
  return {
    ...summaryOf(host, machine, task),
    ...status,
    config: record.config,
    addresses:
      sharesHost && isActive
        ? ['127.0.0.1']
        : (network?.attachments.flatMap(({ address }) => (address === undefined ? [] : [address])) ?? []),
    ports: network?.ports ?? [],
    startedAt: startedAt(machine),
    pid: isActive && task && task.pid > 0 ? task.pid : null,
    details: {
      namespace: host.options.namespace,
      container: container.id,
      runtime: container.runtime?.name ?? null,
      image: container.image || null,
      snapshotter: container.snapshotter || null,
      snapshot: container.snapshotKey || null,
    },
  }
}

function startedAt({ folder }: Machine): number | null {
  try {
    return Number(readFileSync(join(folder.path, 'started'), 'latin1')) || null
  } catch {
    return null
  }
}
