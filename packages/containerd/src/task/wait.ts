import { setTimeout as delay } from 'node:timers/promises'
import type { CallContext, VMExit } from '@vmkit/core/driver'
import type { CallOptions } from '../grpc/client.js'
import type { Containerd } from '../grpc/connection.js'
import { hasCode } from '../grpc/errors.js'
import { findMachine, type Host, type Machine, taskOf } from '../host.js'
import { exitFrom, statusOf, timeOf } from '../inspect.js'
import { partsOfId } from '../record.js'

/** A daemon needs some 50 ms to clean up after a shim that was killed. */
const SHIM_GONE_MS = 20
const MOST_GONE_MS = 10_000

/** The exit of the run that goes on, of the last one when it is over, or of the next one when there was none. */
export async function wait(host: Host, id: string, ctx: CallContext): Promise<VMExit> {
  for (;;) {
    const [machine, ended] = await taskExit(host, id, ctx)
    if (ended) return exitFrom(ended.exitStatus, timeOf(ended.exitedAt), machine.record.cgroupsPath)
    const { state, exit } = statusOf(machine, undefined)
    if (state === 'stopped' && exit) return exit
    await nextStart(host, machine, ctx)
  }
}

/** The machine, and how its task ended, which is awaited; without a task the machine tells more. Both are asked for at once. */
async function taskExit(host: Host, id: string, ctx: CallContext): Promise<[Machine, Awaited<ReturnType<typeof waitFor>>]> {
  const done = new AbortController()
  const ended = waitFor(host, id, AbortSignal.any([ctx.signal, done.signal]))
  // Until the machine was found to be the one that is meant, nobody listens.
  ended.catch(() => {})
  try {
    return [await findMachine(host, id, ctx), await ended]
  } finally {
    done.abort()
  }
}

async function waitFor(host: Host, id: string, signal: AbortSignal) {
  const parts = partsOfId(id)
  if (!parts) return undefined
  const containerd = await host.containerd()
  return exitOf(containerd, { containerId: parts.containerId }, { signal, vmId: id }).catch((error: unknown) => {
    if (hasCode(error, 'NOT_FOUND')) return undefined
    throw error
  })
}

/** How a task, or a command in it, ended, which is awaited. @throws VMKitError `NOT_FOUND` for one that is not there any more */
export async function exitOf(
  containerd: Pick<Containerd, 'tasks'>,
  target: { containerId: string; execId?: string },
  options: CallOptions,
): ReturnType<Containerd['tasks']['wait']> {
  let closedAt: number | undefined
  for (;;) {
    try {
      return await containerd.tasks.wait(target, options)
    } catch (error) {
      // The daemon has lost its shim and not yet cleaned up after it, or is about to end itself: it tells which when asked again.
      if (!hasCode(error, 'BACKEND_ERROR') || !/\bttrpc: closed\b/.test(error.message)) throw error
      closedAt ??= performance.now()
      if (performance.now() - closedAt > MOST_GONE_MS) throw error
      await delay(SHIM_GONE_MS)
    }
  }
}

/** For one that never ran, or is between two runs: listens first, then looks again, so that a start in between is not missed. */
async function nextStart(host: Host, machine: Machine, ctx: CallContext): Promise<void> {
  const containerd = await host.containerd()
  const done = new AbortController()
  const signal = AbortSignal.any([ctx.signal, done.signal])
  const topics = ['/tasks/start', '/containers/delete'].map((topic) => `topic=="${topic}",namespace==${host.options.namespace}`)
  const heard = (async () => {
    for await (const envelope of containerd.events.subscribe({ filters: topics }, { signal })) {
      const event = containerd.unpack(envelope.event)
      if (event?.name === 'containerd.events.TaskStart' && event.message.containerId === machine.containerId) return
      if (event?.name === 'containerd.events.ContainerDelete' && event.message.id === machine.containerId) return
    }
  })()
  heard.catch(() => {})
  try {
    if ((await taskOf(host, machine.containerId, ctx, machine.id)) === undefined) await heard
  } finally {
    done.abort()
  }
}
