import type { Duplex } from 'node:stream'
import { type ByteSink, channel, type OutputChunk } from '@vmkit/core/driver'
import { frames, terminal } from './frames.js'

const CHUNKS_HELD = 16

/** The output and the stdin of a hijacked connection. */
export interface RawSession {
  readonly output: AsyncIterable<OutputChunk>
  readonly stdin: ByteSink
  /** Resolves when the engine closed its side; rejects when the connection broke. */
  readonly closed: Promise<void>
  /** From now on, output that nobody reads is dropped instead of holding the engine up. */
  drop(): void
  destroy(): void
}

const MOST_WORDS = 2048

/**
 * `atEnd` runs before readers see the end, and makes them fail when it throws: a clean end may be a dying engine. It is told how
 * the output began, which may be what the engine has to say.
 */
export function rawSession(
  socket: Duplex,
  tty: boolean,
  atEnd: (words: string) => Promise<void>,
  chunks: AsyncIterable<Uint8Array> = socket,
): RawSession {
  let hasReader = false
  let dropping = false
  let startDropping = (): void => {}
  const dropped = new Promise<void>((resolve) => {
    startDropping = () => {
      dropping = true
      resolve()
    }
  })
  const output = channel<OutputChunk>({ capacity: CHUNKS_HELD, onClose: () => startDropping() })

  const closed = (async () => {
    let words: string | undefined
    try {
      for await (const chunk of tty ? terminal(chunks) : frames(chunks)) {
        words ??= Buffer.from(chunk.data.subarray(0, MOST_WORDS)).toString('utf8')
        if (!dropping) await Promise.race([output.write(chunk), dropped])
      }
      await atEnd(words ?? '')
      output.end()
    } catch (error) {
      output.end(error)
      throw error
    } finally {
      socket.destroy()
    }
  })()
  closed.catch(() => {})

  return {
    output: {
      [Symbol.asyncIterator]() {
        hasReader = true
        return output[Symbol.asyncIterator]()
      },
    },
    stdin: {
      write: (data) =>
        new Promise((resolve, reject) => {
          socket.write(data, (error) => (error ? reject(error) : resolve()))
        }),
      end: () => new Promise((resolve) => (socket.writableEnded || socket.destroyed ? resolve() : socket.end(resolve))),
    },
    closed,
    drop() {
      if (!hasReader) startDropping()
    },
    destroy: () => void socket.destroy(),
  }
}

/**
 * Podman leaves stdin unread when a command ends, and closes: then the socket is reset behind the last of the output. Whether it
 * was the end is for `atEnd` to say.
 */
export async function* untilReset(socket: Duplex): AsyncGenerator<Uint8Array> {
  try {
    yield* socket as AsyncIterable<Uint8Array>
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error
  }
}
