import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { VMKitError } from '@vmkit/core'
import type { PullRequest } from '@vmkit/core/driver'
import { configFolder, type Environment } from './endpoints.js'
import type { RegistryAuth } from './options.js'

const DOCKER_HUB = 'docker.io'
/** The key under which the Docker CLI keeps the credentials of Docker Hub. */
const DOCKER_HUB_KEY = 'https://index.docker.io/v1/'

interface ConfigFile {
  auths?: Record<string, { auth?: string; identitytoken?: string; username?: string; password?: string }>
  credHelpers?: Record<string, string>
  credsStore?: string
}

/** The registry of a reference: its first part when that looks like a host (distribution/reference). */
export function registryOf(reference: string): string {
  const [first = '', ...rest] = reference.split('/')
  return rest.length > 0 && (/[.:]/.test(first) || first === 'localhost') ? first : DOCKER_HUB
}

/** The value of the header `X-Registry-Auth`: base64url of JSON (Docker Engine API, "Authentication"). */
export async function authHeader(
  reference: string,
  explicit: PullRequest['auth'],
  registries: Readonly<Record<string, RegistryAuth>> | undefined,
  env: Environment = process.env,
): Promise<string | undefined> {
  const registry = registryOf(reference)
  const given: RegistryAuth | undefined = explicit
    ? 'token' in explicit
      ? { identityToken: explicit.token }
      : explicit
    : registries?.[registry]
  const auth = given ?? (await fromConfigFile(registry, env))
  if (!auth) return undefined
  const { username, password, identityToken } = auth
  const json = JSON.stringify({ username, password, identitytoken: identityToken, serveraddress: registry })
  // With padding, without which Docker 20.10 reads nothing and says nothing; Node's `base64url` leaves it out.
  return Buffer.from(json).toString('base64').replaceAll('+', '-').replaceAll('/', '_')
}

async function fromConfigFile(registry: string, env: Environment): Promise<RegistryAuth | undefined> {
  const config = await readConfig(join(configFolder(env), 'config.json'))
  if (!config) return undefined
  const keys =
    registry === DOCKER_HUB
      ? [DOCKER_HUB_KEY, DOCKER_HUB]
      : [registry, `https://${registry}`, `http://${registry}`, `https://${registry}/v1/`, `https://${registry}/v2/`]
  const helper = keys.map((key) => config.credHelpers?.[key]).find((name) => name !== undefined) ?? config.credsStore
  if (helper) {
    const fromHelper = await askHelper(helper, keys[0] as string)
    if (fromHelper) return fromHelper
  }
  const stored = keys.map((key) => config.auths?.[key]).find((entry) => entry !== undefined)
  if (!stored) return undefined
  if (stored.identitytoken) return { identityToken: stored.identitytoken }
  if (!stored.auth) return stored.username === undefined ? undefined : { username: stored.username, password: stored.password }
  const decoded = Buffer.from(stored.auth, 'base64').toString('utf8')
  const colon = decoded.indexOf(':')
  return colon < 0 ? undefined : { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) }
}

async function readConfig(path: string): Promise<ConfigFile | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch {
    return undefined
  }
  try {
    return JSON.parse(text) as ConfigFile
  } catch (error) {
    throw new VMKitError('INVALID_CONFIG', `The Docker config file ${path} is no JSON`, {
      driver: 'docker',
      operation: 'pull',
      cause: error,
    })
  }
}

const HELPER_TIMEOUT_MS = 10_000

/** Asks `docker-credential-<name> get`: the registry on stdin, JSON on stdout (docker-credential-helpers). No shell. */
async function askHelper(name: string, registry: string): Promise<RegistryAuth | undefined> {
  if (!/^[\w.-]+$/.test(name))
    throw new VMKitError('INVALID_CONFIG', 'The Docker config file names a credential helper that is no program name', {
      driver: 'docker',
      operation: 'pull',
    })
  const { spawn } = await import('node:child_process')
  const { code, stdout } = await new Promise<{ code: number | null; stdout: string }>((resolve, reject) => {
    const child = spawn(`docker-credential-${name}`, ['get'], { stdio: ['pipe', 'pipe', 'ignore'], timeout: HELPER_TIMEOUT_MS })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.on('error', reject)
    child.on('close', (exitCode) => resolve({ code: exitCode, stdout: output }))
    child.stdin.on('error', () => {})
    child.stdin.end(registry)
  }).catch((error: unknown) => {
    throw new VMKitError(
      'PERMISSION_DENIED',
      `The credential helper docker-credential-${name} cannot be run: ${(error as Error).message}`,
      { driver: 'docker', operation: 'pull', cause: error },
    )
  })
  // Helpers exit with 1 and say "credentials not found" for a registry they do not know.
  if (code !== 0) return undefined
  try {
    const { Username, Secret } = JSON.parse(stdout) as { Username: string; Secret: string }
    return Username === '<token>' ? { identityToken: Secret } : { username: Username, password: Secret }
  } catch (error) {
    throw new VMKitError('PERMISSION_DENIED', `The credential helper docker-credential-${name} answered with something that is no JSON`, {
      driver: 'docker',
      operation: 'pull',
      cause: error,
    })
  }
}
