import type { Writable } from 'node:stream'
import { type ByteSink, VMKitError } from '@vmkit/core/driver'
import { DRIVER } from './errors.js'

/** A stream as a sink: writing waits while it is full. */
export function byteSink(stream: Writable | null): ByteSink {
  // A command that does not read its input is no error; its exit tells how it went.
  stream?.on('error', () => {})
  const closed = (): VMKitError => new VMKitError('INVALID_STATE', 'The stdin is closed', { driver: DRIVER })
  return {
    async write(data) {
      if (!stream?.writable) throw closed()
      if (stream.write(data)) return
      await new Promise<void>((resolve, reject) => {
        const onDrain = (): void => {
          stream.off('close', onClose)
          resolve()
        }
        const onClose = (): void => {
          stream.off('drain', onDrain)
          reject(closed())
        }
        stream.once('drain', onDrain)
        stream.once('close', onClose)
      })
    },
    async end() {
      if (!stream || stream.writableEnded || stream.destroyed) return
      await new Promise<void>((resolve) => {
        stream.once('close', resolve)
        stream.end(resolve)
      })
    },
  }
}
