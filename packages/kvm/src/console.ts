/** The first serial port, as a line to the machine. What it says is also kept in the log, whether somebody reads or not. */
import { type CallContext, limitOf, type TerminalSession, VMKitError } from '@vmkit/core/driver'
import { abortReason, DRIVER, invalidState, systemError } from './errors.js'
import { orEnded } from './qmp/command.js'
import { dial } from './qmp/dial.js'
import { statusOf } from './state/run.js'
import type { Machine } from './state/store.js'

/** QEMU serves one reader of a console at a time: so long a second one waits for the first to leave. */
const BUSY_MS = 5000

/** @throws VMKitError `CONFLICT` while somebody else holds the console */
export async function openConsole(machine: Machine, ctx: CallContext): Promise<TerminalSession> {
  const { state } = statusOf(machine.folder)
  if (state !== 'running' && state !== 'paused') throw invalidState(machine.id, 'open the console of', state)
  using limit = limitOf(ctx.signal, BUSY_MS)
  const socket = await dial(machine.folder.console, limit.signal).catch(async (error: unknown) => {
    throw ctx.signal.aborted
      ? abortReason(ctx.signal)
      : systemError(await orEnded(machine, error), { operation: 'console', vmId: machine.id })
  })
  let failure: Error | undefined
  socket.on('error', (error) => {
    failure = error
  })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))

  async function close(): Promise<void> {
    socket.destroy()
    await closed
  }

  return {
    output: {
      async *[Symbol.asyncIterator]() {
        if (socket.destroyed) return
        try {
          // Leaving the loop lets go of the iterator only, not of the line.
          for await (const data of socket.iterator({ destroyOnReturn: false }))
            yield { source: 'console' as const, data: data as Uint8Array }
        } catch (error) {
          // That the machine has ended is the end of the line.
          if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE' && failure === undefined) throw error
        }
      },
    },
    stdin: {
      write: (data) =>
        new Promise((resolve, reject) => {
          socket.write(data, (error) => (error ? reject(systemError(error, { operation: 'console', vmId: machine.id })) : resolve()))
        }),
      async end() {
        throw new VMKitError('UNSUPPORTED', 'A serial line has no end; close the session', { driver: DRIVER, vmId: machine.id })
      },
    },
    async resize() {
      throw new VMKitError('UNSUPPORTED', 'A serial line has no size', { driver: DRIVER, vmId: machine.id })
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
