import type { CallContext } from '@vmkit/core/driver'
import { TASK_STATUS } from '../grpc/enums.js'
import { findMachine, type Host, taskOf } from '../host.js'

export const pause = (host: Host, id: string, ctx: CallContext): Promise<void> => change(host, id, 'pause', TASK_STATUS.paused, ctx)
export const resume = (host: Host, id: string, ctx: CallContext): Promise<void> => change(host, id, 'resume', TASK_STATUS.running, ctx)

/** Resolves when it is in that state already. */
async function change(host: Host, id: string, verb: 'pause' | 'resume', wanted: number, ctx: CallContext): Promise<void> {
  const { containerId } = await findMachine(host, id, ctx)
  const containerd = await host.containerd()
  try {
    await containerd.tasks[verb]({ containerId }, { signal: ctx.signal, vmId: id })
  } catch (error) {
    ctx.signal.throwIfAborted()
    if ((await taskOf(host, containerId, ctx, id))?.status !== wanted) throw error
  }
}
