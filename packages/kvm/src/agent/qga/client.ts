/** QEMU's guest agent over its socket: JSON texts, a line each, one client at a time (QEMU guest agent protocol reference). */
import { randomInt } from 'node:crypto'
import type { Socket } from 'node:net'
import { limitOf, VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../../errors.js'
import { dial } from '../../qmp/dial.js'

export interface AgentClient {
  /** @throws VMKitError `GUEST_ERROR` with the agent's words */
  call<T>(command: string, args?: Record<string, unknown>): Promise<T>
  /** For a command that is answered only when it is refused, such as `guest-shutdown`. @throws as `call` */
  tell(command: string): Promise<void>
  close(): void
}

/** Ends whatever half a command or answer an earlier client left: no JSON holds this byte ("guest-sync-delimited"). */
const DELIMITER = 0xff
const SYNC_AGAIN_MS = 1000

/**
 * Connects and makes sure that an agent listens. It may only be about to start: `signal` decides how long that may take.
 * @throws VMKitError the reason of `signal`
 */
export async function connectAgent(path: string, signal: AbortSignal): Promise<AgentClient> {
  const socket = await dial(path, signal)
  let pending: Buffer = Buffer.alloc(0)
  let lost: Error | undefined
  let wake = (): void => {}
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk])
    wake()
  })
  socket.on('error', (error) => {
    lost = error
  })
  socket.on('close', () => {
    lost ??= new Error('the connection was closed')
    wake()
  })

  /** The next line that holds a JSON text. */
  async function line(limit: AbortSignal): Promise<{ return?: unknown; error?: { class: string; desc: string } }> {
    for (;;) {
      const end = pending.indexOf(0x0a)
      if (end >= 0) {
        const text = pending.subarray(0, end)
        pending = pending.subarray(end + 1)
        const clean = text
          .subarray(text.lastIndexOf(DELIMITER) + 1)
          .toString('utf8')
          .trim()
        if (clean !== '') return JSON.parse(clean)
        continue
      }
      if (lost) throw new VMKitError('GUEST_ERROR', 'The guest ended, or its QEMU did', { driver: DRIVER, cause: lost })
      await new Promise<void>((resolve, reject) => {
        const onAbort = (): void => reject(limit.reason)
        if (limit.aborted) return onAbort()
        limit.addEventListener('abort', onAbort, { once: true })
        wake = () => {
          limit.removeEventListener('abort', onAbort)
          resolve()
        }
      })
    }
  }

  async function answerTo<T>(command: string): Promise<T> {
    const answer = await line(signal)
    if (answer.error) throw new VMKitError('GUEST_ERROR', `The guest agent refused ${command}: ${answer.error.desc}`, { driver: DRIVER })
    return answer.return as T
  }

  const client: AgentClient = {
    call<T>(command: string, args?: Record<string, unknown>) {
      socket.write(`${JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}) })}\n`)
      return answerTo<T>(command)
    },
    async tell(command) {
      // The first answer is to the one or to the other.
      for (const execute of [command, 'guest-ping']) socket.write(`${JSON.stringify({ execute })}\n`)
      await answerTo(command)
    },
    close: () => void socket.destroy(),
  }
  try {
    await sync(socket, line, signal)
    return client
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/**
 * Asks until the answer to the last question comes; a guest that boots reads none of the first. Each time is twice as patient: the answers
 * of one that is slower than we ask would always be to the question before.
 */
async function sync(socket: Socket, line: (limit: AbortSignal) => Promise<{ return?: unknown }>, signal: AbortSignal): Promise<void> {
  for (let patienceMs = SYNC_AGAIN_MS; ; patienceMs *= 2) {
    const id = randomInt(1, 2 ** 31)
    socket.write(
      Buffer.concat([Buffer.of(DELIMITER), Buffer.from(`${JSON.stringify({ execute: 'guest-sync-delimited', arguments: { id } })}\n`)]),
    )
    using soon = limitOf(signal, patienceMs)
    try {
      for (;;) if ((await line(soon.signal)).return === id) return
    } catch (error) {
      if (signal.aborted || !soon.isOver()) throw error
    }
  }
}
