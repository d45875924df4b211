import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

const SLOW_BYTES_PER_TURN = 2 ** 14
const SLOW_TURN_MS = 20

/** A port of loopback that leads to another one, and answers slowly until it is told to hurry. */
export async function slowPort(target: string) {
  const { promise: reached, resolve: seen } = deferred()
  let isSlow = true
  const sockets = new Set<Socket>()
  const [host = '', port = ''] = target.split(':')
  const server = createServer((client) => {
    const origin = connect(Number(port), host)
    for (const socket of [client, origin]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        client.destroy()
        origin.destroy()
      })
    }
    client.pipe(origin)
    void (async () => {
      for await (const chunk of origin as AsyncIterable<Buffer>) {
        for (let at = 0; at < chunk.length; at += SLOW_BYTES_PER_TURN) {
          client.write(chunk.subarray(at, at + SLOW_BYTES_PER_TURN))
          if (isSlow) await sleep(SLOW_TURN_MS)
        }
      }
      client.end()
    })().catch(() => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' ? address?.port : undefined,
    reached,
    seen,
    hurry: () => {
      isSlow = false
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
