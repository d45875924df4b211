/** The way to one containerd. Light: gRPC and the generated messages are loaded with the first call. */
import { VMKitError } from '@vmkit/core/driver'
import type { LookingClient } from './client.js'
import type { Containerd } from './services.js'

export type { LookingClient } from './client.js'
export type { Containerd } from './services.js'

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
  /** The same, without what a program need not load that only looks. */
  look(): Promise<LookingClient>
  close(): void
}

export function connection(options: ConnectionOptions): Connection {
  let looking: Promise<LookingClient> | undefined
  let made: Promise<Containerd> | undefined
  let isClosed = false
  const look = (): Promise<LookingClient> => {
    if (isClosed) throw new VMKitError('INVALID_STATE', 'The driver was closed', { driver: options.driver })
    looking ??= import('./client.js').then(({ connect }) => connect(options))
    return looking
  }
  const load = async (client: Promise<LookingClient>): Promise<Containerd> => {
    const [{ withServices }, loaded] = await Promise.all([import('./services.js'), client])
    return withServices(loaded)
  }
  return {
    options,
    look,
    get() {
      const client = look()
      made ??= load(client)
      return made
    },
    close() {
      isClosed = true
      looking?.then(
        (client) => client.close(),
        () => undefined, // it never loaded: there is nothing to close
      )
    },
  }
}
