import { type FileHandle, open } from 'node:fs/promises'
import type { Channel, OutputChunk } from '@vmkit/core/driver'
import { changes } from '../watch.js'
import type { LogTarget } from './read.js'

const CHUNK = 64 * 1024
const POLL_MS = 250

export interface ByteFollower {
  /** What is written from the making on, until the machine has ended. */
  pump(output: Channel<OutputChunk>): Promise<void>
}

/** The files as bytes, from where they end now. */
export async function followBytes(target: LogTarget, signal: AbortSignal): Promise<ByteFollower> {
  const watch = changes(target.folder, POLL_MS)
  const streams = await Promise.all(
    target.files.map(async ({ source, path }) => {
      const handle = await open(path, 'r').catch(() => undefined)
      return { source, handle, position: (await handle?.stat())?.size ?? 0 }
    }),
  )
  const close = async (): Promise<void> => {
    watch.close()
    await Promise.all(streams.map(({ handle }) => handle?.close()))
  }
  return {
    async pump(output) {
      try {
        for (let ended = false; ; ended = await target.hasEnded()) {
          for (const stream of streams) {
            for (
              let data = await read(stream.handle, stream.position);
              data.length > 0;
              data = await read(stream.handle, stream.position)
            ) {
              stream.position += data.length
              if (!(await output.write({ source: stream.source, data })) || signal.aborted) return
            }
          }
          if (ended || signal.aborted) return
          await watch.next(signal)
          if (signal.aborted) return
        }
      } finally {
        await close()
      }
    },
  }
}

async function read(handle: FileHandle | undefined, position: number): Promise<Uint8Array> {
  if (!handle) return new Uint8Array(0)
  const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, position)
  return buffer.subarray(0, bytesRead)
}
