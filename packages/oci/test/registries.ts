import { createServer as createHttpServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { backendEnv } from '../../../scripts/lib/backends.js'

export { backendEnv }

export const open = backendEnv('VMKIT_REGISTRY')
export const closed = backendEnv('VMKIT_PRIVATE_REGISTRY')
export const [username = '', password = ''] = (backendEnv('VMKIT_PRIVATE_REGISTRY_AUTH') ?? '').split(':')

export const hasRegistries = open !== undefined && closed !== undefined
if (!hasRegistries && process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error('no registries: scripts/backends up starts two')
export const why = hasRegistries ? '' : ' (not run: no registries; scripts/backends up starts two)'

export interface Proxy extends AsyncDisposable {
  /** Where it listens, as the registry of a reference. */
  host: string
}

/** Passes bytes on, and cuts each connection after so many of the answer; `undefined` cuts none. */
export async function cuttingProxy(target: string, cutAfter: () => number | undefined): Promise<Proxy & { cuts(): number }> {
  const [host = '', port = ''] = target.split(':')
  const sockets = new Set<Socket>()
  let cuts = 0
  const server = createServer((client) => {
    const registry = connect(Number(port), host)
    const limit = cutAfter()
    let passed = 0
    for (const socket of [client, registry]) {
      sockets.add(socket)
      socket
        .on('error', () => {})
        .on('close', () => {
          sockets.delete(socket)
          client.destroy()
          registry.destroy()
        })
    }
    client.pipe(registry)
    registry.on('data', (chunk) => {
      const left = limit === undefined ? chunk.length : limit - passed
      passed += chunk.length
      client.write(chunk.subarray(0, left))
      if (left < chunk.length) {
        cuts += 1
        registry.pause()
        // After the bytes before the cut have left.
        client.write('', () => client.resetAndDestroy())
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    cuts: () => cuts,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Answers what `answer` wants to answer itself (it returns true then), and passes everything else on. */
export async function answeringProxy(
  target: string,
  answer: (call: IncomingMessage, reply: ServerResponse) => boolean,
): Promise<Proxy & { seen: { url: string; authorization: string | undefined }[] }> {
  const seen: { url: string; authorization: string | undefined }[] = []
  const server = createHttpServer((call, reply) => {
    seen.push({ url: call.url ?? '', authorization: call.headers.authorization })
    if (answer(call, reply)) return
    const { authorization: _, ...headers } = call.headers
    const [host, port] = target.split(':')
    const passed = request({ host, port, method: call.method, path: call.url, headers }, (got) => {
      reply.writeHead(got.statusCode ?? 500, got.headers)
      got.pipe(reply)
    })
    passed.on('error', () => reply.destroy())
    call.pipe(passed)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
