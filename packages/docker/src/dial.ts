import { readFile } from 'node:fs/promises'
import { Agent, type ClientRequest } from 'node:http'
import { Agent as TlsAgent } from 'node:https'
import type { Socket } from 'node:net'
import { inspect } from 'node:util'
import { VMKitError } from '@vmkit/core'
import Docker from 'dockerode'
import type { Endpoint } from './endpoints.js'

// The types of dockerode know neither the agent nor an abort signal on every call.
type ModemOptions = ConstructorParameters<typeof Docker>[0]
export interface Modem {
  dial(options: Record<string, unknown>, callback: (error: Error | null, result: unknown) => void): void
}

/** For as long a connection waits for its next request. Docker 20.10 ends it after five minutes: a request that meets that is lost. */
const IDLE_MS = 60_000

/** What the agent of Node is told of its connections. */
interface Keeper {
  keepSocketAlive(socket: Socket): unknown
  reuseSocket(socket: Socket, request: ClientRequest): void
}

function adapted<A extends Agent>(agent: A): A {
  const keep = agent.keepSocketAlive.bind(agent)
  const reuse = agent.reuseSocket.bind(agent)
  const keeper: Keeper = {
    keepSocketAlive(socket) {
      const isKept = keep(socket)
      // The agent destroys one that it keeps when this is over.
      socket.setTimeout(IDLE_MS)
      return isKept
    },
    reuseSocket(socket, request) {
      socket.setTimeout(0)
      reuse(socket, request)
    },
  }
  // The modem formats every request for its debug log, the whole agent with its sockets included, even when nobody listens.
  return Object.assign(agent, keeper, { [inspect.custom]: () => 'Agent' })
}

/** What sends requests to this endpoint, and the connections that it keeps. */
export async function dialer(endpoint: Endpoint): Promise<{ modem: Modem; agent: Agent }> {
  // Every field is set, because the modem fills in what is absent from DOCKER_HOST.
  const none = {
    host: undefined,
    port: undefined,
    socketPath: undefined,
    username: undefined,
    protocol: 'http',
    ca: undefined,
    cert: undefined,
    key: undefined,
    timeout: undefined,
  }
  const url = new URL(endpoint.target.replace(/^unix:\/\//, 'file://'))
  const make = (options: Record<string, unknown>, agent: Agent) => ({
    modem: new Docker({ ...none, ...options, agent } as ModemOptions).modem as unknown as Modem,
    agent,
  })
  if (endpoint.target.startsWith('unix://'))
    return make({ socketPath: endpoint.target.slice('unix://'.length) }, adapted(new Agent({ keepAlive: true })))
  if (url.protocol === 'ssh:') {
    const { SshAgent } = await import('./ssh.js')
    const user = decodeURIComponent(url.username) || undefined
    const agent = new SshAgent({ host: url.hostname, user, port: url.port || undefined, config: endpoint.sshConfig })
    return make({ host: 'docker', port: 80 }, adapted(agent))
  }
  const tls = endpoint.tls ?? (url.protocol === 'https:' ? { verify: true } : undefined)
  if (!tls) return make({ host: url.hostname, port: url.port || 2375 }, adapted(new Agent({ keepAlive: true })))
  const [ca, cert, key] = await Promise.all((['ca', 'cert', 'key'] as const).map((name) => certificate(endpoint, name, tls[name])))
  const agent = adapted(new TlsAgent({ keepAlive: true, ca, cert, key, rejectUnauthorized: tls.verify }))
  return make({ host: url.hostname, port: url.port || 2376, protocol: 'https', ca, cert, key }, agent)
}

async function certificate({ source }: Endpoint, name: string, path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined) return undefined
  return readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new VMKitError('INVALID_CONFIG', `The ${name} file of the engine's TLS (${source}) cannot be read: ${error.message}`, {
      driver: 'docker',
      field: `tls.${name}`,
      cause: error,
    })
  })
}
