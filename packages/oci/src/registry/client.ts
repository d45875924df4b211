/** The requests of the distribution specification 1.1 for one repository, with authentication, redirects and retries. */
import { setTimeout as delay } from 'node:timers/promises'
import { abortReason, throwIfAborted } from '../errors.js'
import { DOCKER_HUB, type Reference } from '../reference.js'
import type { ErrorContext } from '../source.js'
import { authorization } from './auth.js'
import type { Credentials } from './credentials.js'
import { isAbsent, isCut, isPassing, refusal, unreachable } from './failures.js'
import { bodyOf, discard, type HttpAnswer, type HttpRequest, openHttp, textOf } from './http.js'
import type { RegistryOptions } from './options.js'

export interface RepositoryRequest extends Omit<HttpRequest, 'url'> {
  /** Below `/v2/<repository>/`, or a whole address that the registry gave. */
  path: string
  /** For messages: `manifest 1.27`. */
  what: string
  /** Statuses that are no failure, beside 2xx. */
  accept?: readonly number[]
}

export interface Repository {
  readonly name: string
  readonly errors: ErrorContext
  readonly retries: number
  /** Answers with a status of 2xx or an accepted one; the body is to be read or discarded. */
  send(request: RepositoryRequest): Promise<HttpAnswer>
  /** The body, whole; read again from the beginning when it is cut. @param limit bytes, more are cut off */
  bytes(request: RepositoryRequest, limit: number): Promise<{ answer: HttpAnswer; bytes: Uint8Array }>
  body(answer: HttpAnswer, signal?: AbortSignal): AsyncIterable<Uint8Array>
  /** Waits before the attempt after this one. */
  pause(attempt: number, signal?: AbortSignal, answer?: HttpAnswer): Promise<void>
  unreachable(error: unknown): Error
  close(): void
}

const MOST_REDIRECTS = 5
const RETRIES = 5

export function openRepository(
  { registry, repository }: Pick<Reference, 'registry' | 'repository'>,
  actions: string,
  credentials: Credentials | undefined,
  options: RegistryOptions,
): Repository {
  const { errors = {}, retries = RETRIES, plainHttp = isLoopback(registry) } = options
  const http = openHttp(options)
  const base = new URL(`${plainHttp ? 'http' : 'https'}://${registry === DOCKER_HUB ? 'registry-1.docker.io' : registry}/v2/${repository}/`)
  const auth = authorization({
    ...options,
    http,
    registry,
    isPlain: plainHttp,
    scope: `repository:${repository}:${actions}`,
    credentials,
    errors,
  })

  /** One attempt: follows redirects, and answers a challenge once. */
  const attempt = async ({ path, ...request }: RepositoryRequest): Promise<HttpAnswer> => {
    let url = new URL(path, base)
    let hasRenewed = false
    for (let redirects = 0; ; ) {
      // Elsewhere, such as in the object store behind the registry, the credentials have no business.
      const used = url.origin === base.origin ? auth.header() : undefined
      const answer = await http.send({
        ...request,
        url,
        headers: { ...request.headers, ...(used === undefined ? {} : { authorization: used }) },
      })
      const { location } = answer.headers
      if ([301, 302, 303, 307, 308].includes(answer.status) && location !== undefined && URL.canParse(location, url.href)) {
        await discard(answer)
        if (++redirects > MOST_REDIRECTS) throw refusal(answer.status, 'it redirects in a circle', request.what, registry, errors, false)
        url = new URL(location, url)
        continue
      }
      const challenge = answer.headers['www-authenticate']
      if (answer.status !== 401 || hasRenewed || url.origin !== base.origin || challenge === undefined || typeof request.body === 'object')
        return answer
      await discard(answer)
      hasRenewed = true
      await auth.renew(challenge, used)
    }
  }

  const send = async (request: RepositoryRequest): Promise<HttpAnswer> => {
    const signal = request.signal ?? options.signal
    for (let tries = 0; ; tries++) {
      throwIfAborted(signal)
      const isLast = tries >= retries || typeof request.body === 'object'
      let answer: HttpAnswer
      try {
        answer = await attempt({ ...request, signal })
      } catch (error) {
        if (signal?.aborted) throw abortReason(signal)
        if (isLast || !isCut(error) || isAbsent(error)) throw unreachable(error, registry, errors)
        await pause(tries, signal)
        continue
      }
      if ((answer.status >= 200 && answer.status < 300) || request.accept?.includes(answer.status)) return answer
      if (isPassing(answer.status) && !isLast) {
        await discard(answer)
        await pause(tries, signal, answer)
        continue
      }
      const words = await textOf(answer, 4096, { ...options, signal }).catch(() => '')
      throw refusal(answer.status, words, request.what, registry, errors, auth.hasCredentials())
    }
  }

  return {
    name: `${registry}/${repository}`,
    errors,
    retries,
    send,
    async bytes(request, limit) {
      for (let tries = 0; ; tries++) {
        const answer = await send(request)
        try {
          const chunks: Uint8Array[] = []
          let size = 0
          for await (const chunk of bodyOf(answer, { ...options, signal: request.signal ?? options.signal })) {
            chunks.push(chunk)
            size += chunk.length
            if (size > limit) break
          }
          return { answer, bytes: Buffer.concat(chunks) }
        } catch (error) {
          if (tries >= retries || !isCut(error)) throw unreachable(error, registry, errors)
          await pause(tries, request.signal ?? options.signal)
        }
      }
    },
    body: (answer, signal = options.signal) => bodyOf(answer, { ...options, signal }),
    pause,
    unreachable: (error) => unreachable(error, registry, errors),
    close: () => http.close(),
  }
}

const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 10_000

/** Doubles each time, half of it by chance so that many clients do not come back together; what the registry asks for counts. */
async function pause(attempt: number, signal?: AbortSignal, answer?: HttpAnswer): Promise<void> {
  const asked = Number(answer?.headers['retry-after'] ?? Number.NaN) * 1000
  const backoff = FIRST_PAUSE_MS * 2 ** attempt * (0.5 + Math.random() / 2)
  const ms = Math.min(Number.isFinite(asked) && asked > 0 ? asked : backoff, LONGEST_PAUSE_MS)
  await delay(ms, undefined, { signal }).catch(() => throwIfAborted(signal))
}

/** The hosts that Docker takes to be insecure by themselves, and that are asked over plain HTTP unless said otherwise. */
export function isLoopback(registry: string): boolean {
  const host = registry.replace(/:\d+$/, '')
  return host === 'localhost' || host.endsWith('.localhost') || host === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(host)
}
