import type { CallContext, VMExit } from '@vmkit/core/driver'
import { hasCode } from '../grpc/errors.js'
import { findMachine, type Host, type Machine, taskOf } from '../host.js'
import { exitFrom, statusOf, timeOf } from '../inspect.js'
import { partsOfId } from '../record.js'

/** The exit of the run that goes on, of the last one when it is over, or of the next one when there was none. */
export async function wait(host: Host, id: string, ctx: CallContext): Promise<VMExit> {
  for (;;) {
    const { containerId = '' } = partsOfId(id) ?? {}
    const [machine, task] = await Promise.all([findMachine(host, id, ctx), containerId ? taskOf(host, containerId, ctx, id) : undefined])
    const { state, exit } = statusOf(machine, task)
    if (state === 'stopped' && exit) return exit
    const found = task === undefined ? await nextExit(host, machine, ctx) : await thisExit(host, machine, ctx)
    if (found) return found
  }
}

/** `undefined` when its task went meanwhile: then the machine tells more. */
async function thisExit(host: Host, { id, containerId, record }: Machine, { signal }: CallContext): Promise<VMExit | undefined> {
  const containerd = await host.containerd()
  try {
    const { exitStatus, exitedAt } = await containerd.tasks.wait({ containerId }, { signal, vmId: id })
    return exitFrom(exitStatus, timeOf(exitedAt), record.cgroupsPath)
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return undefined
    throw error
  }
}

/** For one that never ran, or is between two runs: listens first, then looks again, so that a start in between is not missed. */
async function nextExit(host: Host, machine: Machine, ctx: CallContext): Promise<VMExit | undefined> {
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
  return undefined
}
