import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'
import { createManager, type VMConfig } from '@vmkit/core'
import { type DockerOptions, docker } from '../src/driver.js'
import { engineSocket, ensureImage, IMAGE, raw } from './engine.js'

export const socketPath = engineSocket()

/** Why the tests of a real engine do not run here; with VMKIT_REQUIRE_BACKENDS=1 that is an error. */
export function requireEngine(): boolean {
  if (socketPath !== undefined) return true
  if (process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error('no engine: scripts/backends up starts one')
  return false
}

/** Behind the name of a test that needs the engine, so that the closing table tells why it did not run. */
export const why = socketPath === undefined ? ' (not run: no engine; scripts/backends up starts one)' : ''

export async function prepare(): Promise<void> {
  if (socketPath !== undefined) await ensureImage(socketPath)
}

export const managerOf = (options: DockerOptions = { socketPath }) => createManager({ drivers: { docker: docker(options) } })

export type DockerManager = ReturnType<typeof managerOf>

/** A machine that idles, of the test image. */
export const idle = (changes: VMConfig = {}): VMConfig => ({
  image: IMAGE,
  pull: 'never',
  command: ['sh', '-c', "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
  ...changes,
})

export async function inspectRaw(id: string): Promise<{
  HostConfig: Record<string, unknown>
  Config: Record<string, unknown>
  NetworkSettings: { Networks: Record<string, unknown> }
}> {
  return JSON.parse((await raw(socketPath as string, 'GET', `/containers/${id}/json`)).body)
}

/** Names of all containers, vmkit's or not. */
export async function containerNames(): Promise<string[]> {
  const found = JSON.parse((await raw(socketPath as string, 'GET', '/containers/json?all=1')).body) as { Names: string[] }[]
  return found.map(({ Names }) => Names[0] ?? '')
}

/** The engine's UNIX socket on a TCP port of loopback, as a remote engine would be. */
export async function tcpProxy(): Promise<{ host: string; sockets: Set<Socket>; close(): Promise<void> }> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const engine = connect({ path: socketPath as string, allowHalfOpen: true })
    sockets.add(client)
    client.on('close', () => sockets.delete(client))
    for (const [from, to] of [
      [client, engine],
      [engine, client],
    ] as const) {
      from.on('error', () => to.destroy())
      from.on('close', () => to.destroy())
      from.pipe(to)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sockets,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
