/** Basic and token authentication (distribution, "Token Authentication Specification" and "OAuth2 Token Authentication"). */
import { VMKitError } from '@vmkit/core/driver'
import type { ErrorContext } from '../source.js'
import type { Credentials } from './credentials.js'
import { refusal } from './failures.js'
import { type Http, textOf } from './http.js'
import type { RegistryOptions } from './options.js'

export interface Challenge {
  scheme: 'basic' | 'bearer'
  parameters: Record<string, string>
}

/** The challenges of a `WWW-Authenticate` header (RFC 9110, 11.6.1), those that are known. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = []
  for (const match of header.matchAll(/(?:^|[\s,])(basic|bearer)(?=\s|$)((?:[\s,]+[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s",]+))*)/gi)) {
    const parameters: Record<string, string> = Object.create(null)
    for (const [, key = '', quoted, plain = ''] of (match[2] ?? '').matchAll(/([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))/g)) {
      parameters[key.toLowerCase()] = quoted === undefined ? plain : quoted.replace(/\\(.)/g, '$1')
    }
    challenges.push({ scheme: match[1]?.toLowerCase() as Challenge['scheme'], parameters })
  }
  return challenges
}

export interface Authorization {
  /** The header for a request to the registry; `undefined` before the first challenge. */
  header(): string | undefined
  hasCredentials(): boolean
  /** Answers a 401. `used` is the header that was refused: when another one is there by now, that one is to be tried. */
  renew(challenge: string, used: string | undefined): Promise<void>
}

export interface AuthorizationOptions extends Pick<RegistryOptions, 'idleTimeoutMs' | 'signal'> {
  http: Http
  registry: string
  isPlain: boolean
  scope: string
  credentials: Credentials | undefined
  errors: ErrorContext
}

const LONGEST_ANSWER = 2 ** 20

export function authorization(options: AuthorizationOptions): Authorization {
  const { registry, credentials, errors } = options
  let current: string | undefined
  let pending: Promise<string> | undefined
  return {
    header: () => current,
    hasCredentials: () => credentials !== undefined,
    async renew(header, used) {
      if (current !== undefined && current !== used) return
      const challenges = parseChallenges(header)
      const bearer = challenges.find(({ scheme }) => scheme === 'bearer')
      const isBasic = challenges.some(({ scheme }) => scheme === 'basic')
      if (bearer) {
        // Layers are fetched in parallel: one token serves them all.
        pending ??= fetchToken(bearer, options).finally(() => {
          pending = undefined
        })
        current = `Bearer ${await pending}`
      } else if (isBasic && credentials && 'username' in credentials && used === undefined) {
        current = basic(credentials)
      } else {
        throw refusal(401, '', 'this image', registry, errors, credentials !== undefined)
      }
    },
  }
}

const basic = ({ username, password }: { username: string; password: string }) =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`

async function fetchToken({ parameters }: Challenge, options: AuthorizationOptions): Promise<string> {
  const { http, registry, isPlain, credentials, errors, signal } = options
  const bad = (what: string) => new VMKitError('BACKEND_ERROR', `The registry ${registry} names ${what}`, errors)
  if (!URL.canParse(parameters.realm ?? '')) throw bad('no address for tokens')
  const url = new URL(parameters.realm as string)
  if (url.protocol !== 'https:' && !(isPlain && url.protocol === 'http:')) throw bad('an address for tokens that is not https')
  const query = new URLSearchParams({
    ...(parameters.service ? { service: parameters.service } : {}),
    scope: parameters.scope ?? options.scope,
  })
  const isToken = credentials !== undefined && 'token' in credentials
  if (isToken) {
    query.set('grant_type', 'refresh_token')
    query.set('refresh_token', credentials.token)
    query.set('client_id', 'vmkit')
  } else {
    for (const [key, value] of query) url.searchParams.append(key, value)
  }
  const answer = await http.send(
    isToken
      ? { method: 'POST', url, headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: query.toString(), signal }
      : { url, headers: credentials ? { authorization: basic(credentials) } : {}, signal },
  )
  const text = await textOf(answer, LONGEST_ANSWER, options)
  if (answer.status !== 200) {
    // A token service answers 404 or 400 to a login that it does not know; an image is not what is missing.
    const status = answer.status >= 400 && answer.status < 500 && answer.status !== 429 ? 401 : answer.status
    throw refusal(status, text, 'a token', registry, errors, credentials !== undefined)
  }
  try {
    const { token, access_token: accessToken } = JSON.parse(text) as { token?: unknown; access_token?: unknown }
    const found = token ?? accessToken
    if (typeof found === 'string' && /^[\x21-\x7e]+$/.test(found)) return found
  } catch {
    // told below
  }
  throw new VMKitError('BACKEND_ERROR', `The token service of ${registry} answered without a token`, errors)
}
