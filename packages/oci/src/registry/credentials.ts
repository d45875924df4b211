import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { DOCKER_HUB } from '../reference.js'
import type { ErrorContext } from '../source.js'

/** A password, or the identity token that `docker login` got instead of one. */
export type Credentials = { username: string; password: string } | { token: string }

/** The key under which the Docker CLI keeps the credentials of Docker Hub. */
const DOCKER_HUB_KEY = 'https://index.docker.io/v1/'

interface ConfigFile {
  auths?: Record<string, { auth?: string; identitytoken?: string; username?: string; password?: string } | undefined>
  credHelpers?: Record<string, string>
  credsStore?: string
}

/**
 * What the Docker config file has for a registry: of its credential helpers (`credHelpers`, `credsStore`), else of `auths`.
 * The file is `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; `undefined` when it has nothing.
 * @throws `INVALID_CONFIG` for a file that cannot be used, `PERMISSION_DENIED` for a helper that fails
 */
export async function findCredentials(
  registry: string,
  { env = process.env, errors = {} }: { env?: Readonly<Record<string, string | undefined>>; errors?: ErrorContext } = {},
): Promise<Credentials | undefined> {
  const config = await readConfig(join(env.DOCKER_CONFIG || join(env.HOME || homedir(), '.docker'), 'config.json'), errors)
  if (!config) return undefined
  const keys =
    registry === DOCKER_HUB
      ? [DOCKER_HUB_KEY, DOCKER_HUB]
      : [registry, `https://${registry}`, `http://${registry}`, `https://${registry}/v1/`, `https://${registry}/v2/`]
  const helper = keys.map((key) => config.credHelpers?.[key]).find((name) => name !== undefined) ?? config.credsStore
  const helped = helper ? await askHelper(helper, keys[0] as string, env, errors) : undefined
  return helped ?? storedCredentials(config, keys)
}

function storedCredentials({ auths = {} }: ConfigFile, keys: readonly string[]): Credentials | undefined {
  const stored = keys.map((key) => auths[key]).find((entry) => entry !== undefined)
  if (!stored) return undefined
  if (stored.identitytoken) return { token: stored.identitytoken }
  if (!stored.auth) return stored.username === undefined ? undefined : { username: stored.username, password: stored.password ?? '' }
  const decoded = Buffer.from(stored.auth, 'base64').toString('utf8')
  const colon = decoded.indexOf(':')
  return colon < 0 ? undefined : { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) }
}

async function readConfig(path: string, errors: ErrorContext): Promise<ConfigFile | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null) return parsed as ConfigFile
  } catch {
    // The error of JSON.parse would repeat a part of the file, which holds passwords.
  }
  throw new VMKitError('INVALID_CONFIG', `The Docker config file ${path} is no JSON object`, errors)
}

const HELPER_TIMEOUT_MS = 10_000

/** Runs `docker-credential-<name> get`: the registry on stdin, JSON on stdout (github.com/docker/docker-credential-helpers). No shell. */
async function askHelper(
  name: string,
  key: string,
  env: Readonly<Record<string, string | undefined>>,
  errors: ErrorContext,
): Promise<Credentials | undefined> {
  if (!/^[\w.-]+$/.test(name))
    throw new VMKitError('INVALID_CONFIG', 'The Docker config file names a credential helper that is no program name', errors)
  const program = `docker-credential-${name}`
  const refuse = (what: string, cause?: unknown) =>
    new VMKitError('PERMISSION_DENIED', `The credential helper ${program} ${what}`, { ...errors, cause })
  const { NODE_EXTRA_CA_CERTS: _, ...childEnv } = env
  const { spawn } = await import('node:child_process')
  const { code, stdout } = await new Promise<{ code: number | null; stdout: string }>((resolve, reject) => {
    const child = spawn(program, ['get'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      timeout: HELPER_TIMEOUT_MS,
      env: childEnv as NodeJS.ProcessEnv,
    })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.on('error', reject)
    child.on('close', (exitCode) => resolve({ code: exitCode, stdout: output }))
    child.stdin.on('error', () => {})
    child.stdin.end(key)
  }).catch((error: unknown) => {
    throw refuse(`cannot be run: ${(error as Error).message}`, error)
  })
  if (code === null) throw refuse(`did not answer within ${HELPER_TIMEOUT_MS / 1000} s`)
  // Helpers exit with 1 and say "credentials not found" for a registry they do not know.
  if (code !== 0) return undefined
  let answer: { Username?: unknown; Secret?: unknown }
  try {
    answer = JSON.parse(stdout)
  } catch {
    throw refuse('answered with something that is no JSON')
  }
  const { Username: username, Secret: secret } = answer
  if (typeof username !== 'string' || typeof secret !== 'string') throw refuse('answered without a user name and a secret')
  return username === '<token>' ? { token: secret } : { username, password: secret }
}
