/** A loopback proxy before a registry, which breaks connections off after so many bytes. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface Cutter {
  host: string
  /** Breaks all connections once this many bytes more have gone to the client; `undefined`: never. */
  cutAfter(bytes: number | undefined, then?: () => void): void
  /**
   * Passes nothing on any more once this many bytes more have gone to the client, and breaks nothing; `undefined`: passes all, but for the
   * connections that lack something by then, which it breaks.
   */
  stallAfter(bytes: number | undefined, then?: () => void): void
  /** Breaks every connection that is open. */
  cut(): void
  /** Bytes that went to clients. */
  served(): number
  close(): Promise<void>
}

export async function cutter(target: string): Promise<Cutter> {
  const [host = '', port = ''] = target.split(':')
  const open = new Set<Socket>()
  const lacking = new Set<Socket>()
  let served = 0
  let left: number | undefined
  let onCut: (() => void) | undefined
  let flow: number | undefined
  let onStall: (() => void) | undefined
  const server = createServer((client) => {
    const registry = connect(Number(port), host)
    for (const socket of [client, registry]) {
      open.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => open.delete(socket))
    }
    client.on('close', () => {
      lacking.delete(client)
      registry.destroy()
    })
    // One that has sent all, and lets go, tells nothing to a client that has not got all.
    registry.on('close', () => {
      if (!lacking.has(client)) client.destroy()
    })
    client.pipe(registry)
    registry.on('data', (chunk: Buffer) => {
      const isStalled = flow !== undefined && flow <= 0
      if (!isStalled) served += chunk.length
      if (flow !== undefined) flow -= chunk.length
      if (flow !== undefined && flow <= 0) {
        lacking.add(client)
        return isStalled ? undefined : onStall?.()
      }
      if (left !== undefined) left -= chunk.length
      if (left !== undefined && left <= 0) {
        left = undefined
        for (const socket of open) socket.destroy()
        onCut?.()
        return
      }
      if (!client.write(chunk)) {
        registry.pause()
        client.once('drain', () => registry.resume())
      }
    })
    registry.on('end', () => {
      if (!lacking.has(client)) client.end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    cutAfter(bytes, then) {
      left = bytes
      onCut = then
    },
    stallAfter(bytes, then) {
      flow = bytes
      onStall = then
      for (const socket of lacking) socket.destroy()
    },
    cut() {
      for (const socket of open) socket.destroy()
    },
    served: () => served,
    async close() {
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
