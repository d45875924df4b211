/** Asks a guest who it is: PID 1 of the vmkit guest, or QEMU's guest agent in a system of its own. */
import { limitOf, VMKitError } from '@vmkit/core/driver'
import { isPortOpen } from '../agent/port-open.js'
import { connectAgent } from '../agent/qga/client.js'
import { ask } from '../agent/request.js'
import { AGENT_CHANNEL, FIRST_EXEC_PORT } from '../boot/channels.js'
import { decodeRecords } from '../boot/run-spec.js'
import { abortReason, DRIVER, invalidState } from '../errors.js'
import type { Host } from '../host.js'
import { statusOf } from '../state/run.js'
import type { Machine } from '../state/store.js'
import { fromQga, fromRecords, type GuestInfo, type QgaAnswers } from './guest-info.js'

/** An agent that listens answers in milliseconds; one whose guest hangs never does. */
const ANSWER_MS = 2000

/**
 * @throws VMKitError `INVALID_STATE` unless it runs; `GUEST_ERROR` when nobody answers in the guest: at once when no agent has opened
 * its port, else after 2 s
 */
export async function askGuest(host: Host, machine: Machine, signal: AbortSignal): Promise<GuestInfo> {
  const { state } = statusOf(machine.folder)
  if (state !== 'running') throw invalidState(machine.id, 'ask the guest of', state)
  const isOurs = machine.boot.process !== undefined
  if (!isPortOpen(machine, isOurs ? FIRST_EXEC_PORT : AGENT_CHANNEL.name)) throw nobody(machine, isOurs)
  using limit = limitOf(signal, ANSWER_MS)
  try {
    return isOurs ? await askOurs(host, machine, limit.signal) : await askQga(machine, limit.signal)
  } catch (error) {
    if (signal.aborted) throw abortReason(signal)
    throw limit.isOver() ? nobody(machine, isOurs, error) : error
  }
}

function nobody({ id }: Machine, isOurs: boolean, cause?: unknown): VMKitError {
  const what = isOurs ? 'No agent answers in the guest: it still boots, or hangs' : 'No guest agent answers in the guest'
  return new VMKitError('GUEST_ERROR', what, {
    driver: DRIVER,
    vmId: id,
    retryable: true,
    hint: isOurs ? 'Its console log tells how far it came' : 'Install and start qemu-guest-agent in it, or wait until it has booted',
    ...(cause === undefined ? {} : { cause }),
  })
}

async function askOurs(host: Host, machine: Machine, signal: AbortSignal): Promise<GuestInfo> {
  return host.guests.use(machine, signal, async (port) => fromRecords(decodeRecords(await ask(port, [['op', 'about']], signal))))
}

/** An agent need not know every command: what it refuses is not told. */
async function askQga(machine: Machine, signal: AbortSignal): Promise<GuestInfo> {
  const agent = await connectAgent(machine.folder.agent, signal)
  const tell = async <T>(command: string): Promise<T | undefined> => {
    try {
      return await agent.call<T>(command)
    } catch (error) {
      if (signal.aborted || !(error instanceof VMKitError && error.message.startsWith('The guest agent refused'))) throw error
      return undefined
    }
  }
  try {
    const interfaces = await tell<NonNullable<QgaAnswers['interfaces']>>('guest-network-get-interfaces')
    const os = await tell<NonNullable<QgaAnswers['os']>>('guest-get-osinfo')
    const hostname = await tell<NonNullable<QgaAnswers['hostname']>>('guest-get-host-name')
    return fromQga({ ...(interfaces ? { interfaces } : {}), ...(os ? { os } : {}), ...(hostname ? { hostname } : {}) })
  } finally {
    agent.close()
  }
}
