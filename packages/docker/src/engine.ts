import type { Agent, IncomingMessage } from 'node:http'
import type { Duplex, Readable } from 'node:stream'
import { VMKitError } from '@vmkit/core'
import type { VMKitErrorDetails } from '@vmkit/core/driver'
import { type Debts, debts } from './debts.js'
import type { Modem } from './dial.js'
import { candidateEndpoints, type Endpoint } from './endpoints.js'
import { abortReason, engineError, hasCode, transportError } from './errors.js'
import type { DockerOptions } from './options.js'
import type { EngineVersion } from './wire.js'

/** The newest Engine API this driver was written for; the engine may be older or newer. */
const OUR_API = '1.51'
const CONNECT_TIMEOUT_MS = 3000
// A login, and a program that starts there. ssh itself gives up after 30 s, and says why.
const SSH_CONNECT_TIMEOUT_MS = 35_000

export interface EngineRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  path: string
  query?: Readonly<Record<string, string | number | boolean | undefined>>
  body?: unknown
  /** A tar, as the body. */
  file?: Readable | Buffer
  headers?: Record<string, string>
  signal?: AbortSignal
  /** Statuses that are an answer and no error, beside 2xx, such as 304. */
  accept?: readonly number[]
  /** What to add to an error. */
  context?: VMKitErrorDetails
}

/** A connection to one engine. */
export interface Engine extends Debts {
  readonly endpoint: Endpoint
  readonly version: EngineVersion
  /** Negotiated. */
  readonly apiVersion: string
  readonly isPodman: boolean
  /** The engine's processes and files are this host's. */
  readonly isLocal: boolean
  /** Whether the API is at least this one. */
  atLeast(apiVersion: string): boolean
  /** The parsed JSON; `undefined` for an empty answer. */
  json<T>(request: EngineRequest): Promise<T>
  /** The body as it comes. The caller destroys it when it leaves early. */
  stream(request: EngineRequest): Promise<IncomingMessage>
  /** A raw two-way connection, for exec and attach. */
  hijack(request: EngineRequest): Promise<Duplex>
}

/** Finds the engine at the first use and keeps it: another one would not know the machines. */
export interface EngineFinder {
  get(signal?: AbortSignal): Promise<Engine>
  close(): void
}

export interface Tried {
  target: string
  result: string
}

export function engineFinder(options: DockerOptions): EngineFinder {
  const agents = new Set<Agent>()
  let found: Engine | undefined
  let looking: Promise<Engine> | undefined
  return {
    async get(signal) {
      if (found) {
        const settling = found.settle()
        if (settling) await abortable(settling, signal)
        return found
      }
      // Concurrent callers share one search; each waits only as long as its own signal says.
      looking ??= search(options, agents).finally(() => {
        looking = undefined
      })
      found = await abortable(looking, signal)
      return found
    },
    close() {
      for (const agent of agents) agent.destroy()
      agents.clear()
    },
  }
}

async function search(options: DockerOptions, agents: Set<Agent>): Promise<Engine> {
  const tried: Tried[] = []
  const failures: VMKitError[] = []
  for (const endpoint of candidateEndpoints(options)) {
    try {
      const patience = endpoint.target.startsWith('ssh:') ? SSH_CONNECT_TIMEOUT_MS : CONNECT_TIMEOUT_MS
      return await connect(endpoint, agents, options.connectTimeoutMs ?? patience)
    } catch (error) {
      const failure = transportError(error, endpoint.target)
      failures.push(failure)
      tried.push({ target: `${endpoint.target} (${endpoint.source})`, result: failure.message })
    }
  }
  const list = tried.map(({ target, result }) => `${target}: ${result}`).join('; ')
  // An engine that is there and does not let us in is the one that somebody can do something about, whatever else was looked at.
  const refusal = failures.find((failure) => hasCode(failure, 'PERMISSION_DENIED', 'INVALID_CONFIG'))
  const only = failures.length === 1 ? failures[0] : undefined
  throw new VMKitError(refusal?.code ?? 'BACKEND_UNAVAILABLE', `No container engine answers. Tried ${list}`, {
    driver: 'docker',
    retryable: true,
    hint: (refusal ?? only)?.hint ?? 'Start dockerd or Podman, or name the endpoint with options.socketPath, options.host or DOCKER_HOST',
    field: refusal?.field,
    evidence: { tried },
    cause: refusal ?? failures.at(-1),
  })
}

/** Dials one endpoint and asks its version. */
export async function connect(endpoint: Endpoint, agents: Set<Agent>, timeoutMs: number): Promise<Engine> {
  // Loaded when it is used: HTTP, TLS and dockerode are most of what importing this driver would cost.
  const { dialer } = await import('./dial.js')
  const { modem, agent } = await dialer(endpoint)
  agents.add(agent)
  try {
    const version = await request<EngineVersion>(modem, endpoint, {
      method: 'GET',
      path: '/version',
      signal: AbortSignal.timeout(timeoutMs),
    })
    if (typeof version?.ApiVersion !== 'string') throw new VMKitError('BACKEND_UNAVAILABLE', 'It answers, but not as a container engine')
    const apiVersion = compareVersions(version.ApiVersion, OUR_API) < 0 ? version.ApiVersion : OUR_API
    const prefix = `/v${apiVersion}`
    const versioned = (spec: EngineRequest): EngineRequest => ({ ...spec, path: prefix + spec.path })
    return {
      ...debts(),
      endpoint,
      version,
      apiVersion,
      isPodman: version.Components?.some(({ Name }) => /podman/i.test(Name)) ?? false,
      isLocal: endpoint.target.startsWith('unix://'),
      atLeast: (wanted) => compareVersions(apiVersion, wanted) >= 0,
      json: (spec) => request(modem, endpoint, versioned(spec)),
      stream: (spec) => open(modem, endpoint, versioned(spec), false) as Promise<IncomingMessage>,
      hijack: (spec) => open(modem, endpoint, versioned(spec), true) as Promise<Duplex>,
    }
  } catch (error) {
    agents.delete(agent)
    agent.destroy()
    throw error
  }
}

// The modem turns a status that is not `true` here into its own error, which loses the engine's words for streams.
const ALL_STATUSES = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [index + 100, true]))

async function open(modem: Modem, endpoint: Endpoint, spec: EngineRequest, hijack: boolean): Promise<IncomingMessage | Duplex> {
  const { signal } = spec
  if (signal?.aborted) throw abortReason(signal)
  const query = Object.fromEntries(Object.entries(spec.query ?? {}).filter(([, value]) => value !== undefined))
  const isEmpty = Object.keys(query).length === 0
  const answer = await new Promise<IncomingMessage | Duplex>((resolve, reject) => {
    modem.dial(
      {
        path: isEmpty ? spec.path : `${spec.path}?`,
        method: spec.method,
        options: { _query: query, _body: spec.body ?? {} },
        headers: { ...spec.headers },
        isStream: true,
        statusCodes: ALL_STATUSES,
        ...(spec.file === undefined ? {} : { file: spec.file }),
        // An empty body as well is sent with its length: the end of a chunked one would arrive as stdin.
        ...(hijack ? { hijack: true, allowEmpty: true } : {}),
        ...(signal ? { abortSignal: signal } : {}),
      },
      (error, result) => (error ? reject(transportError(error, endpoint.target, signal)) : resolve(result as IncomingMessage | Duplex)),
    )
  })
  const status = 'statusCode' in answer ? (answer.statusCode ?? 0) : 101
  if (status === 101 || (!hijack && ((status >= 200 && status < 300) || spec.accept?.includes(status)))) return answer
  const text = await readText(answer as IncomingMessage, endpoint, signal).catch(() => '')
  throw engineError(status, wordsOf(text) || `The engine answered with HTTP status ${status}`, spec.context)
}

async function request<T>(modem: Modem, endpoint: Endpoint, spec: EngineRequest): Promise<T> {
  const answer = (await open(modem, endpoint, spec, false)) as IncomingMessage
  const text = await readText(answer, endpoint, spec.signal)
  if (text.trim() === '') return undefined as T
  try {
    return JSON.parse(text) as T
  } catch (error) {
    throw new VMKitError(
      'BACKEND_ERROR',
      `The engine at ${endpoint.target} answered ${spec.method} ${spec.path} with something that is no JSON`,
      { driver: 'docker', cause: error },
    )
  }
}

/** The modem waits for ever when the engine dies in the middle of a body; this does not. */
async function readText(answer: IncomingMessage, endpoint: Endpoint, signal: AbortSignal | undefined): Promise<string> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of answer) chunks.push(chunk as Buffer)
  } catch (error) {
    throw transportError(error, endpoint.target, signal)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function wordsOf(body: string): string {
  try {
    const { message, cause } = JSON.parse(body) as { message?: unknown; cause?: unknown }
    return String(message ?? cause ?? body).trim()
  } catch {
    return body.trim()
  }
}

/** Versions such as `1.41` and `28.5`: by number, part by part. */
export function compareVersions(left: string, right: string): number {
  const parts = (version: string) => version.split('.').map((part) => Number.parseInt(part, 10) || 0)
  const [a, b] = [parts(left), parts(right)]
  for (let index = 0; index < Math.max(a.length, b.length); index += 1) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0)
    if (difference !== 0) return Math.sign(difference)
  }
  return 0
}

async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  if (signal.aborted) throw abortReason(signal)
  let onAbort = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortReason(signal))
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
