import { limitOf, VMKitError } from '@vmkit/core/driver'
import { abortReason, DRIVER, invalidState } from '../../errors.js'
import { orEnded } from '../../qmp/command.js'
import { isRunAlive, statusOf } from '../../state/run.js'
import type { Machine } from '../../state/store.js'
import { type AgentClient, connectAgent } from './client.js'

/** An agent that is there answers in milliseconds; one that is about to start, in the seconds of a boot. */
const ANSWER_MS = 10_000

/** One conversation with QEMU's guest agent; others wait for its end, so it is short. */
export async function withAgent<T>(machine: Machine, signal: AbortSignal, task: (agent: AgentClient) => Promise<T>): Promise<T> {
  const { run, state } = statusOf(machine.folder)
  if (!run || !isRunAlive(run)) throw invalidState(machine.id, 'reach the agent of', state)
  using limit = limitOf(signal, ANSWER_MS)
  const agent = await connectAgent(machine.folder.agent, limit.signal).catch(async (error: unknown) => {
    if (signal.aborted) throw abortReason(signal)
    if (!limit.isOver()) throw await orEnded(machine, error)
    throw new VMKitError('GUEST_ERROR', `No guest agent answers in the machine within ${ANSWER_MS / 1000} s`, {
      driver: DRIVER,
      vmId: machine.id,
      retryable: true,
      hint: 'Install and start qemu-guest-agent in it, wait until it has booted, or use its serial line: console()',
      cause: error,
    })
  })
  try {
    return await task(agent)
  } finally {
    agent.close()
  }
}
