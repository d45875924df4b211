/** Requests over node:http and node:https, which are loaded with the first one. */
import type { Agent, IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { abortReason } from '../errors.js'
import type { RegistryOptions } from './options.js'

export interface HttpRequest {
  method?: string
  url: URL
  headers?: Record<string, string>
  body?: string | AsyncIterable<Uint8Array>
  signal?: AbortSignal
}

export interface HttpAnswer {
  status: number
  headers: IncomingHttpHeaders
  body: IncomingMessage
}

export interface Http {
  send(request: HttpRequest): Promise<HttpAnswer>
  close(): void
}

export function openHttp({
  insecure = false,
  ca,
  idleTimeoutMs = 30_000,
}: Pick<RegistryOptions, 'insecure' | 'ca' | 'idleTimeoutMs'>): Http {
  const agents = new Map<string, Agent>()
  return {
    async send({ method = 'GET', url, headers = {}, body, signal }) {
      if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new Error(`an address of ${url.protocol}`)
      const isSecure = url.protocol === 'https:'
      const client = isSecure ? await import('node:https') : await import('node:http')
      if (signal?.aborted) throw abortReason(signal)
      let agent = agents.get(url.protocol)
      if (!agent) {
        agent = new client.Agent({ keepAlive: true, maxSockets: 8 })
        agents.set(url.protocol, agent)
      }
      const trust = isSecure
        ? { rejectUnauthorized: !insecure, ...(ca === undefined ? {} : { ca: [...(await rootCertificates()), ca] }) }
        : {}
      return new Promise<HttpAnswer>((resolve, reject) => {
        const request = client.request(url, { method, headers: { 'user-agent': 'vmkit', ...headers }, agent, signal, ...trust })
        const silent = setTimeout(() => request.destroy(silence(idleTimeoutMs)), idleTimeoutMs)
        request.on('response', (answer) => {
          clearTimeout(silent)
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: answer })
        })
        request.on('error', (error) => {
          clearTimeout(silent)
          reject(signal?.aborted ? abortReason(signal) : error)
        })
        if (body === undefined || typeof body === 'string') request.end(body)
        else
          Readable.from(body, { objectMode: false })
            .on('data', () => silent.refresh())
            .on('error', (error) => request.destroy(error))
            .pipe(request)
      })
    },
    close() {
      for (const agent of agents.values()) agent.destroy()
    },
  }
}

const silence = (ms: number) => Object.assign(new Error(`no byte for ${ms / 1000} s`), { code: 'ETIMEDOUT' })

async function rootCertificates(): Promise<readonly string[]> {
  return (await import('node:tls')).rootCertificates
}

/** The chunks of a body; throws when nothing comes for `idleTimeoutMs` while somebody waits for it. */
export async function* bodyOf({ body }: HttpAnswer, { idleTimeoutMs = 30_000, signal }: Pick<RegistryOptions, 'idleTimeoutMs' | 'signal'>) {
  let isWaiting = true
  const silent = setTimeout(() => (isWaiting ? body.destroy(silence(idleTimeoutMs)) : silent.refresh()), idleTimeoutMs)
  const abort = () => body.destroy(signal && abortReason(signal))
  signal?.addEventListener('abort', abort, { once: true })
  try {
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      isWaiting = false
      yield chunk
      isWaiting = true
      silent.refresh()
    }
  } catch (error) {
    throw signal?.aborted ? abortReason(signal) : error
  } finally {
    clearTimeout(silent)
    signal?.removeEventListener('abort', abort)
  }
}

/** At most `limit` bytes of a body, for an error message or a small document. */
export async function textOf(
  answer: HttpAnswer,
  limit: number,
  options: Pick<RegistryOptions, 'idleTimeoutMs' | 'signal'>,
): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of bodyOf(answer, options)) {
    chunks.push(chunk)
    size += chunk.length
    if (size >= limit) break
  }
  return Buffer.concat(chunks).subarray(0, limit).toString('utf8')
}

/** Reads what is left, so that the connection can be used again; gives up on a long one. */
export async function discard(answer: HttpAnswer): Promise<void> {
  await textOf(answer, 64 * 1024, { idleTimeoutMs: 2000 }).catch(() => {})
}
