import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { VMKitError } from '@vmkit/core/driver'
import { hasCode } from '../grpc/errors.js'
import type { Host, Machine } from '../host.js'
import { signalNumber } from '../task/stop.js'

/** Name of the environment variable that a command and all its children carry, with a value of its own. */
export const EXEC_MARK = 'VMKIT_EXEC'

const PAUSES_MS = [1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000, 1000, 1000]

/**
 * Signals a command and what it started. containerd knows the command alone; its children are found among the processes of
 * the container by the mark in their environment, which they keep also when their parent is gone. SIGKILL repeats until
 * nothing is left, because a process may fork in between.
 */
export async function killExec(
  host: Host,
  machine: Machine,
  execId: string,
  name: string,
  isOver: () => boolean,
  once = false,
): Promise<void> {
  const { containerId, id } = machine
  const signal = signalNumber(name, host.driver)
  const containerd = await host.containerd()
  const repeats = name === 'SIGKILL' && !once
  for (const pause of PAUSES_MS) {
    const hits = await signalMarked(host, machine, execId, signal)
    const reached = await containerd.tasks.kill({ containerId, execId, signal }, { vmId: id }).then(
      () => true,
      (error: unknown) => {
        if (hasCode(error, 'NOT_FOUND', 'INVALID_STATE')) return false
        throw error
      },
    )
    if (!repeats || (hits === 0 && (!reached || isOver()))) return
    await delay(pause)
  }
  throw new VMKitError('GUEST_ERROR', `The command does not end on ${name}`, { vmId: id, operation: 'exec' })
}

/** Whether something that the command started is still there. A sandbox does not show it. */
export async function isLeft(host: Host, machine: Machine, execId: string): Promise<boolean> {
  return (await signalMarked(host, machine, execId, 0).catch(() => 0)) > 0
}

/** How many were signalled. Those that end meanwhile cannot be read: they do not count. */
async function signalMarked(host: Host, { containerId, id }: Machine, mark: string, signal: number): Promise<number> {
  // The process ids of a sandbox are the hypervisor's: what is inside is reached through the runtime alone.
  if (host.variation.sandboxed) return 0
  const containerd = await host.containerd()
  const { processes } = await containerd.tasks.listPids({ containerId }, { vmId: id }).catch((error: unknown) => {
    if (hasCode(error, 'NOT_FOUND', 'INVALID_STATE')) return { processes: [] }
    throw error
  })
  const needle = `${EXEC_MARK}=${mark}`
  return processes.filter(({ pid }) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(needle) && process.kill(pid, signal)
    } catch {
      return false
    }
  }).length
}
