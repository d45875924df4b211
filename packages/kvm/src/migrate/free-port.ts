/** A TCP port for a server that does not tell which one it got. */
import { createServer } from 'node:net'
import { VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'

const MOST_PORTS = 5

/**
 * `take` has it on a port that was free a moment ago; where somebody else was faster, on another one.
 * @returns the port. @throws VMKitError what `take` throws, `CONFLICT` from the last port only
 */
export async function onFreePort(host: string, take: (port: number) => Promise<unknown>): Promise<number> {
  for (let left = MOST_PORTS; ; left -= 1) {
    const port = await freePort(host)
    try {
      await take(port)
      return port
    } catch (error) {
      if (left === 1 || VMKitError.from(error).code !== 'CONFLICT') throw error
    }
  }
}

async function freePort(host: string): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port: 0 }, resolve)
  })
  const bound = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (typeof bound !== 'object' || !bound) throw new VMKitError('BACKEND_ERROR', `No port at ${host}`, { driver: DRIVER })
  return bound.port
}
