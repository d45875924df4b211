/** The ends of FIFOs that this program holds, without a thread of libuv's pool waiting on each. */
import { constants, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type ByteSink, type Channel, type LogSource, type OutputChunk, VMKitError } from '@vmkit/core/driver'

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

export interface Reader {
  /** Resolves when the other side has closed, or this one. */
  readonly ended: Promise<void>
  /** Whether the other side closed it, so that nobody holds the FIFO any more. */
  isDrained(): boolean
  /** When something came last (`performance.now()`). */
  lastAt(): number
  /** Whether `output` takes no more for now, so that nothing can come. */
  isHeldUp(): boolean
  destroy(): void
}

/** Opens the reading end now; what comes goes into `output`, and a full one holds the writer up. */
export function readFifo(path: string, source: LogSource, output: Channel<OutputChunk>, isDropping: () => boolean): Reader {
  const socket = new Socket({ fd: openSync(path, O_RDONLY | O_NONBLOCK), readable: true, writable: false })
  let drained = false
  let heldUp = false
  let at = performance.now()
  socket.on('data', (data) => {
    at = performance.now()
    if (isDropping()) return
    socket.pause()
    heldUp = true
    void output.write({ source, data }).then(() => {
      at = performance.now()
      heldUp = false
      socket.resume()
    })
  })
  const ended = new Promise<void>((resolve) => {
    socket.on('end', () => {
      drained = true
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve())
  })
  return { ended, isDrained: () => drained, lastAt: () => at, isHeldUp: () => heldUp, destroy: () => void socket.destroy() }
}

/** A reader of the FIFO opens it soon after the process has started. */
const OPEN_TRIES_MS = [0, 1, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]

export interface Writer extends ByteSink {
  destroy(): void
}

/**
 * Opens the writing end. `atEnd` runs after this end is closed, never before: a shim that is told to close its own end while
 * a client holds one may hang.
 */
export async function writeFifo(path: string, atEnd: () => Promise<void>): Promise<Writer> {
  const socket = new Socket({ fd: await openWriting(path), readable: false, writable: true })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  // A process that does not read its input is no error; its exit tells how it went.
  socket.on('error', () => {})
  let ending: Promise<void> | undefined
  return {
    async write(data) {
      if (!socket.writable) throw closedStdin()
      if (socket.write(data)) return
      await new Promise<void>((resolve, reject) => {
        const onDrain = (): void => {
          socket.off('close', onClose)
          resolve()
        }
        const onClose = (): void => {
          socket.off('drain', onDrain)
          reject(closedStdin())
        }
        socket.once('drain', onDrain)
        socket.once('close', onClose)
      })
    },
    end() {
      ending ??= (async () => {
        if (!socket.destroyed) {
          socket.end(() => socket.destroy())
          await closed
        }
        await atEnd()
      })()
      return ending
    },
    destroy: () => void socket.destroy(),
  }
}

async function openWriting(path: string): Promise<number> {
  for (const pause of OPEN_TRIES_MS) {
    if (pause > 0) await delay(pause)
    try {
      return openSync(path, O_WRONLY | O_NONBLOCK)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error
    }
  }
  throw closedStdin()
}

function closedStdin(): VMKitError {
  return new VMKitError('INVALID_STATE', 'The stdin is closed')
}

/** What a command without stdin has in its place. */
export const NO_STDIN: Writer = {
  write: () => Promise.reject(closedStdin()),
  end: () => Promise.resolve(),
  destroy: () => {},
}
