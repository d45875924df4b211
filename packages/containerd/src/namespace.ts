import type { Connection, Containerd, LookingClient } from './grpc/connection.js'
import { hasCode } from './grpc/errors.js'

/** The client, once containerd has the namespace; a daemon that was not there is asked again by the next call. */
export function inNamespace(link: Connection): { containerd(): Promise<Containerd>; looking(): Promise<LookingClient> } {
  let ready: Promise<LookingClient> | undefined
  async function make(): Promise<LookingClient> {
    const client = await link.look()
    await client.namespaces.create({ namespace: { name: link.options.namespace } }).catch((error: unknown) => {
      if (!hasCode(error, 'ALREADY_EXISTS')) throw error
    })
    return client
  }
  const looking = (): Promise<LookingClient> => {
    ready ??= make().catch((error: unknown) => {
      ready = undefined
      throw error
    })
    return ready
  }
  return {
    looking,
    async containerd() {
      const [whole] = await Promise.all([link.get(), looking()])
      return whole
    },
  }
}
