/** The way to one containerd. Light: gRPC and the generated messages are loaded with the first call. */
import { VMKitError } from '@vmkit/core/driver'
import type { Containerd } from './client.js'

export type { Containerd } from './client.js'

export interface ConnectionOptions {
  socketPath: string
  /** containerd's namespace; each call names it. */
  namespace: string
  /** The driver that errors name: `containerd`, or one that builds on it. */
  driver: string
}

export interface Connection {
  readonly options: ConnectionOptions
  /** Does not dial: the first call does, and every call after a lost connection dials again. */
  get(): Promise<Containerd>
  close(): void
}

export function connection(options: ConnectionOptions): Connection {
  let made: Promise<Containerd> | undefined
  let isClosed = false
  return {
    options,
    get() {
      if (isClosed) throw new VMKitError('INVALID_STATE', 'The driver was closed', { driver: options.driver })
      made ??= import('./client.js').then(({ connect }) => connect(options))
      return made
    },
    close() {
      isClosed = true
      made?.then(
        (containerd) => containerd.close(),
        () => undefined, // it never loaded: there is nothing to close
      )
    },
  }
}
