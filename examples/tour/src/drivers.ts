/** The drivers that the tour visits. Importing a package registers its driver: a new one needs an import and a job here. */
import { createServer } from 'node:http'
import { createServer as listener } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { VMConfig } from '@vmkit/core'
import '@vmkit/mock'
import type { Program } from '@vmkit/mock'
import '@vmkit/process'

/** A machine that answers HTTP on `port`, and a command to run beside its server. */
export interface Job {
  config: VMConfig
  port: number
  command: readonly string[]
}

const NODE_SERVER = fileURLToPath(new URL('server.js', import.meta.url))

export const jobs: Readonly<Record<string, () => Promise<Job>>> = {
  mock: async () => ({
    config: { command: ['server'], ports: [{ guest: 80 }] },
    port: 80,
    command: ['echo', 'hello from inside'],
  }),
  async process() {
    const port = await freePort()
    return {
      config: { command: [process.execPath, NODE_SERVER, String(port)], ports: [{ guest: port }] },
      port,
      command: ['sh', '-c', 'echo "hello from $(uname -s)"'],
    }
  },
}

/** What `server.js` does, as a program of a mock machine: there a function stands for the code. */
export const mockServer: Program = (io) => {
  const server = createServer((request, response) => {
    void io.stdout.write(`${request.method} ${request.url}\n`)
    response.end('hello')
  })
  io.listen(80, (socket) => server.emit('connection', socket))
  return new Promise<number>((resolve) => io.onSignal('SIGTERM', () => resolve(0)))
}

/** A host process has no ports of its own: it listens on one of this host's, so it needs a free one. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = listener().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}
