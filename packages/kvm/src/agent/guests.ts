/** Conversations with guests that this process has, each shared by all its calls and let go of soon after the last. */
import { join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { untilChange } from '@vmkit/core/state-folder'
import { execSocket } from '../boot/channels.js'
import { abortReason, DRIVER, invalidState } from '../errors.js'
import { orEnded } from '../qmp/command.js'
import { resetsOf } from '../state/event-log.js'
import { isRunAlive, statusOf } from '../state/run.js'
import type { Machine } from '../state/store.js'
import { type Claim, claimPort } from './claim.js'
import { openPort, type Port } from './port.js'

export interface Guests {
  /** Calls `task` with a port, which stays open as long as sessions are on it. */
  use<T>(machine: Machine, signal: AbortSignal, task: (port: Port) => T | Promise<T>): Promise<T>
  close(): void
}

/** Other programs may want the port. */
const IDLE_MS = 300
const POLL_MS = 100
/** A guest that was reset has forgotten its sessions; those who wait for them hear of it so late. */
const RESET_POLL_MS = 250
/** A guest that boots on a busy host under TCG needs seconds; one that does not answer for so long never will. */
const ANSWER_MS = 60_000

interface Conversation {
  port: Promise<Port>
  users: number
  run: number
  resets: number
  idle?: NodeJS.Timeout
}

export function guests(): Guests {
  const open = new Map<string, Conversation>()

  function drop(path: string, conversation: Conversation): void {
    clearTimeout(conversation.idle)
    if (open.get(path) === conversation) open.delete(path)
    conversation.port.then(
      (port) => port.close(),
      () => {},
    )
  }

  function letGo(path: string, conversation: Conversation, port: Port | undefined): void {
    conversation.users -= 1
    if (conversation.users > 0) return
    if (!port || port.isLost) {
      drop(path, conversation)
      return
    }
    port.hold(!port.isIdle)
    const look = (): void => {
      if (conversation.users > 0) return
      if (port.isIdle || port.isLost) drop(path, conversation)
      else conversation.idle = setTimeout(look, IDLE_MS).unref()
    }
    conversation.idle = setTimeout(look, IDLE_MS).unref()
  }

  return {
    async use(machine, signal, task) {
      const { path } = machine.folder
      const { run, state } = statusOf(machine.folder)
      if (!run || !isRunAlive(run)) throw invalidState(machine.id, 'exec', state)
      let conversation = open.get(path)
      const resets = resetsOf(machine.folder)
      // A connection to an earlier QEMU of the machine, or from before a reset, is over, known or not.
      if (conversation && (conversation.run !== run.number || conversation.resets !== resets)) {
        drop(path, conversation)
        conversation = undefined
      }
      if (!conversation) {
        conversation = { port: connect(machine, resets), users: 0, run: run.number, resets }
        conversation.port.catch(() => {})
        open.set(path, conversation)
      }
      clearTimeout(conversation.idle)
      conversation.users += 1
      let port: Port | undefined
      try {
        port = await unlessAborted(conversation.port, signal)
        port.hold(true)
        return await task(port)
      } catch (error) {
        throw VMKitError.from(signal.aborted ? error : await orEnded(machine, error), { driver: DRIVER, vmId: machine.id })
      } finally {
        letGo(path, conversation, port)
      }
    },
    close() {
      for (const [path, conversation] of open) drop(path, conversation)
    },
  }
}

async function connect(machine: Machine, resets: number): Promise<Port> {
  const { folder } = machine
  const limit = AbortSignal.timeout(ANSWER_MS)
  let claim: Claim | undefined
  try {
    claim = await untilChange(folder.path, limit, POLL_MS, () => claimPort(folder.path))
    const port = await openPort(join(folder.path, execSocket(claim.port)), limit)
    return released(
      port,
      claim,
      whenReset(machine, resets, () => port.close()),
    )
  } catch (error) {
    claim?.release()
    if (!limit.aborted) throw error
    if (!claim) {
      throw new VMKitError('CONFLICT', 'Other programs hold all connections to this guest', {
        driver: DRIVER,
        vmId: machine.id,
        cause: error,
      })
    }
    throw new VMKitError('GUEST_ERROR', `No agent answers in the guest within ${ANSWER_MS / 1000} s`, {
      driver: DRIVER,
      vmId: machine.id,
      hint: 'Its console log may tell why it did not come up',
      cause: error,
    })
  }
}

/** A guest that is reset cannot tell that its sessions are gone. @returns what ends the watch */
function whenReset({ folder }: Machine, resets: number, tell: () => void): () => void {
  const timer = setInterval(() => {
    if (resetsOf(folder) === resets) return
    clearInterval(timer)
    tell()
  }, RESET_POLL_MS).unref()
  return () => clearInterval(timer)
}

function released(port: Port, claim: Claim, unwatch: () => void): Port {
  return {
    ...port,
    get isIdle() {
      return port.isIdle
    },
    get isLost() {
      return port.isLost
    },
    close() {
      unwatch()
      port.close()
      claim.release()
    },
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortReason(signal))
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
