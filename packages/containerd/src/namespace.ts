import type { Connection, Containerd } from './grpc/connection.js'
import { hasCode } from './grpc/errors.js'

/** The client, once containerd has the namespace; a daemon that was not there is asked again by the next call. */
export function ensureNamespace(link: Connection): () => Promise<Containerd> {
  let ready: Promise<Containerd> | undefined
  async function make(): Promise<Containerd> {
    const containerd = await link.get()
    await containerd.namespaces.create({ namespace: { name: link.options.namespace } }).catch((error: unknown) => {
      if (!hasCode(error, 'ALREADY_EXISTS')) throw error
    })
    return containerd
  }
  return () => {
    ready ??= make().catch((error: unknown) => {
      ready = undefined
      throw error
    })
    return ready
  }
}
