import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface StubEngine {
  socketPath: string
  close(): Promise<void>
}

const LONG_AGO = '2026-01-01T00:00:00Z'
const NEVER = '0001-01-01T00:00:00Z'

/** An engine that does nothing and answers at once: what a client adds is then all that takes time. Measured, never tested. */
export async function stubEngine(): Promise<StubEngine> {
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-bench-'))
  const socketPath = join(folder, 'engine.sock')
  const containers = new Map<string, { labels: Record<string, string>; ran: boolean }>()
  let made = 0

  function answer(call: IncomingMessage, body: string): { status: number; value?: unknown } {
    const path = (call.url ?? '').replace(/^\/v[\d.]+/, '').replace(/\?.*/, '')
    const id = path.split('/')[2] ?? ''
    if (path === '/version') return { status: 200, value: { Version: 'stub', ApiVersion: '1.41' } }
    if (path === '/info') return { status: 200, value: { ServerVersion: 'stub', Driver: 'none', NCPU: 1, MemTotal: 1, OSType: 'linux' } }
    if (path === '/images/json') return { status: 200, value: [] }
    if (path === '/containers/create') {
      made += 1
      const Id = made.toString(16).padStart(64, '0')
      containers.set(Id, { labels: (JSON.parse(body) as { Labels?: Record<string, string> }).Labels ?? {}, ran: false })
      return { status: 201, value: { Id } }
    }
    const found = containers.get(id)
    if (!found) return { status: 404, value: { message: `No such container: ${id}` } }
    if (path.endsWith('/start')) {
      found.ran = true
      return { status: 204 }
    }
    if (path.endsWith('/wait')) return { status: 200, value: { StatusCode: 0 } }
    if (call.method === 'DELETE') {
      containers.delete(id)
      return { status: 204 }
    }
    const value = {
      Id: id,
      Name: '/stub',
      Created: LONG_AGO,
      Image: 'sha256:0',
      RestartCount: 0,
      State: {
        Status: found.ran ? 'exited' : 'created',
        Running: false,
        Paused: false,
        Restarting: false,
        OOMKilled: false,
        Dead: false,
        Pid: 0,
        ExitCode: 0,
        Error: '',
        StartedAt: found.ran ? LONG_AGO : NEVER,
        FinishedAt: found.ran ? LONG_AGO : NEVER,
      },
      Config: { Labels: found.labels, Tty: false, OpenStdin: false, WorkingDir: '', Image: 'stub' },
      HostConfig: { NetworkMode: 'default' },
      NetworkSettings: {},
    }
    return { status: 200, value }
  }

  const server = createServer((call, reply) => {
    let body = ''
    call.setEncoding('utf8').on('data', (part: string) => {
      body += part
    })
    call.on('end', () => {
      const { status, value } = answer(call, body)
      reply.writeHead(status, { 'content-type': 'application/json' })
      reply.end(value === undefined ? undefined : JSON.stringify(value))
    })
  })
  await new Promise<void>((resolve) => server.listen(socketPath, resolve))
  return {
    socketPath,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await rm(folder, { recursive: true })
    },
  }
}
