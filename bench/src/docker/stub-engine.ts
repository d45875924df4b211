/**
 * An engine that answers from memory at once, so that what a client adds can be seen: a real one takes a quarter of a second,
 * and varies by more. It shows nothing about Docker. A program of its own, because its time is not the client's.
 * Usage: stub-engine.ts <socket>; ends with the IPC channel to its parent. Answers as Docker Engine API v1.41 does.
 */
import { createServer, type ServerResponse } from 'node:http'
import { ENDS_AT_ONCE, TAKE_CALLS } from './stub.js'

interface Container {
  id: string
  name: string
  config: { Image?: string; Labels?: Record<string, string>; HostConfig?: Record<string, unknown> }
  startedAt: string
  finishedAt: string
  /** A client waits for its exit, and is answered through this. */
  waiting?: () => void
}

const NEVER = '0001-01-01T00:00:00Z'
/** Longest life of a program that ends when somebody waits for it, should nobody look at its state meanwhile. */
const LIFE_MS = 20

const containers = new Map<string, Container>()
let made = 0
let calls = 0

const server = createServer(async (request, response) => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://stub')
  if (pathname === TAKE_CALLS) {
    answer(response, { status: 200, body: { calls } })
    calls = 0
    return
  }
  calls += 1
  const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString('utf8')) : {}
  const path = pathname.replace(/^\/v\d+\.\d+/, '')
  const [, id = '', verb = ''] = /^\/containers\/([^/]+)\/?(.*)$/.exec(path) ?? []
  const container = containers.get(id)
  if (container && verb === 'wait') return wait(response, container, searchParams.get('condition') ?? 'not-running')
  const call = `${request.method} ${container ? verb : path}`.trim()
  answer(response, container ? actOn(container, call) : hostAnswer(call, searchParams, body))
  if (verb === 'json') container?.waiting?.()
})
// The real engine closes no idle connection either.
server.keepAliveTimeout = 0
server.listen(process.argv[2], () => process.send?.('ready'))
process.once('disconnect', () => process.exit())

interface Answer {
  status: number
  body?: unknown
}

function hostAnswer(call: string, query: URLSearchParams, config: Container['config']): Answer {
  switch (call) {
    case 'GET /_ping':
      return { status: 200, body: 'OK' }
    case 'GET /version':
      return { status: 200, body: { Version: 'stub', ApiVersion: '1.41', MinAPIVersion: '1.12', Os: 'linux', Components: [] } }
    case 'GET /info':
      return { status: 200, body: { ServerVersion: 'stub', Driver: 'memory', NCPU: 1, MemTotal: 2 ** 30, OSType: 'linux' } }
    case 'GET /images/json':
      return { status: 200, body: [] }
    case 'GET /containers/json':
      return { status: 200, body: [...containers.values()].map(listed) }
    case 'POST /containers/create': {
      made += 1
      const id = made.toString(16).padStart(64, '0')
      containers.set(id, { id, name: query.get('name') ?? id, config, startedAt: NEVER, finishedAt: NEVER })
      return { status: 201, body: { Id: id, Warnings: [] } }
    }
    default:
      return { status: 404, body: { message: `the stub engine has no ${call}` } }
  }
}

function actOn(container: Container, call: string): Answer {
  switch (call) {
    case 'POST start':
      container.startedAt = now()
      if (container.config.Image === ENDS_AT_ONCE) end(container)
      return { status: 204 }
    case 'GET json':
      return { status: 200, body: inspected(container) }
    case 'DELETE':
      containers.delete(container.id)
      return { status: 204 }
    default:
      return { status: 404, body: { message: `the stub engine has no ${call} of a container` } }
  }
}

/** As the engine does it: headers when the wait is armed, the body with the exit. */
function wait(response: ServerResponse, container: Container, condition: string): void {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.flushHeaders()
  if (condition === 'not-running') {
    end(container)
    response.end(JSON.stringify({ StatusCode: 0 }))
    return
  }
  if (container.finishedAt !== NEVER) return
  const timer = setTimeout(() => container.waiting?.(), LIFE_MS)
  container.waiting = () => {
    clearTimeout(timer)
    delete container.waiting
    end(container)
    response.end(JSON.stringify({ StatusCode: 0 }))
  }
  response.once('close', () => clearTimeout(timer))
}

function end(container: Container): void {
  if (container.finishedAt === NEVER) container.finishedAt = now()
}

function stateOf({ startedAt, finishedAt }: Container): string {
  if (finishedAt !== NEVER) return 'exited'
  return startedAt === NEVER ? 'created' : 'running'
}

function inspected(container: Container) {
  const { id, name, config, startedAt, finishedAt } = container
  const status = stateOf(container)
  const isRunning = status === 'running'
  return {
    Id: id,
    Name: `/${name}`,
    Created: now(),
    Image: config.Image,
    RestartCount: 0,
    State: {
      Status: status,
      Running: isRunning,
      Paused: false,
      Restarting: false,
      OOMKilled: false,
      Dead: false,
      Pid: isRunning ? 1 : 0,
      ExitCode: 0,
      Error: '',
      StartedAt: startedAt,
      FinishedAt: finishedAt,
    },
    Config: { Tty: false, OpenStdin: false, WorkingDir: '', ...config, Labels: config.Labels ?? {} },
    HostConfig: { NetworkMode: 'default', ...config.HostConfig },
    NetworkSettings: { Ports: {}, Networks: {} },
  }
}

function listed(container: Container) {
  const { id, name, config } = container
  const state = stateOf(container)
  return { Id: id, Names: [`/${name}`], Labels: config.Labels ?? {}, State: state, Status: state, Created: 0 }
}

function answer(response: ServerResponse, { status, body }: Answer): void {
  if (body === undefined) response.writeHead(status).end()
  else response.writeHead(status, { 'content-type': 'application/json' }).end(typeof body === 'string' ? body : JSON.stringify(body))
}

function now(): string {
  return new Date().toISOString()
}
