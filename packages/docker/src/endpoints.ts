import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { invalidConfig } from '@vmkit/core/driver'
import type { DockerOptions } from './options.js'

/** Where an engine may listen. */
export interface Endpoint {
  /** As DOCKER_HOST would say it: `unix:///run/docker.sock`, `tcp://host:2376`, `ssh://user@host`. */
  target: string
  /** Who named it. */
  source: string
  /** Folder or values of the TLS client certificate. */
  tls?: TlsFiles
  /** For `ssh://`: the config file that ssh reads instead of its own. */
  sshConfig?: string
}

export interface TlsFiles {
  ca?: string
  cert?: string
  key?: string
  verify: boolean
}

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * The endpoints to try, in order. What somebody named (option, DOCKER_HOST, a chosen context) is the only candidate then:
 * silently using another engine than the one asked for would be worse than an error.
 * Sources: Docker CLI documentation, "docker context" and "environment variables".
 */
export function candidateEndpoints(options: DockerOptions, env: Environment = process.env): Endpoint[] {
  const { sshConfig } = options
  return sshConfig === undefined ? candidates(options, env) : candidates(options, env).map((endpoint) => ({ ...endpoint, sshConfig }))
}

function candidates(options: DockerOptions, env: Environment): Endpoint[] {
  if (options.socketPath !== undefined) return [{ target: `unix://${options.socketPath}`, source: 'options.socketPath' }]
  if (options.host !== undefined) {
    const tls = options.tls ? { ...options.tls, verify: options.tls.verify ?? true } : undefined
    return [{ target: normalise(options.host), source: 'options.host', ...(tls ? { tls } : {}) }]
  }
  if (env.DOCKER_HOST) return [{ target: normalise(env.DOCKER_HOST), source: 'DOCKER_HOST', ...tlsOf(env) }]
  const folder = configFolder(env)
  const context = options.context ?? env.DOCKER_CONTEXT ?? currentContext(folder)
  if (context !== undefined && context !== '' && context !== 'default') return [contextEndpoint(folder, context)]
  return defaults(env)
}

function defaults(env: Environment): Endpoint[] {
  const runtime = env.XDG_RUNTIME_DIR
  const home = env.HOME ?? homedir()
  const sockets: [string, string][] = [
    ['/var/run/docker.sock', 'default socket'],
    ...(runtime ? ([[join(runtime, 'docker.sock'), 'rootless socket']] as [string, string][]) : []),
    [join(home, '.docker/run/docker.sock'), 'Docker Desktop socket'],
    ['/run/podman/podman.sock', 'Podman socket'],
    ...(runtime ? ([[join(runtime, 'podman/podman.sock'), 'rootless Podman socket']] as [string, string][]) : []),
  ]
  return sockets.map(([path, source]) => ({ target: `unix://${path}`, source }))
}

function configFolder(env: Environment): string {
  return env.DOCKER_CONFIG ?? join(env.HOME ?? homedir(), '.docker')
}

function currentContext(folder: string): string | undefined {
  try {
    const parsed: unknown = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
    const name = (parsed as { currentContext?: unknown }).currentContext
    return typeof name === 'string' ? name : undefined
  } catch {
    return undefined
  }
}

/** A context's files lie under the SHA-256 of its name. */
function contextEndpoint(folder: string, name: string): Endpoint {
  // Not imported: few use contexts, and it is a third of what importing this driver would cost.
  const { createHash } = process.getBuiltinModule('node:crypto')
  const digest = createHash('sha256').update(name).digest('hex')
  const file = join(folder, 'contexts/meta', digest, 'meta.json')
  let host: unknown
  let skipVerify: unknown
  try {
    const { Endpoints } = JSON.parse(readFileSync(file, 'utf8')) as { Endpoints?: { docker?: { Host?: unknown; SkipTLSVerify?: unknown } } }
    host = Endpoints?.docker?.Host
    skipVerify = Endpoints?.docker?.SkipTLSVerify
  } catch {
    // told below: the context is not there or not readable
  }
  if (typeof host !== 'string') throw invalidConfig('context', `a Docker context that exists in ${join(folder, 'contexts')}`, name)
  const tlsFolder = join(folder, 'contexts/tls', digest, 'docker')
  const tls = existsSync(tlsFolder) ? { ...certificates(tlsFolder), verify: skipVerify !== true } : undefined
  return { target: normalise(host), source: `context ${name}`, ...(tls ? { tls } : {}) }
}

function tlsOf(env: Environment): { tls?: TlsFiles } {
  const verify = env.DOCKER_TLS_VERIFY !== undefined && env.DOCKER_TLS_VERIFY !== ''
  if (env.DOCKER_CERT_PATH) return { tls: { ...certificates(env.DOCKER_CERT_PATH), verify: true } }
  return verify ? { tls: { ...certificates(configFolder(env)), verify } } : {}
}

function certificates(folder: string): Omit<TlsFiles, 'verify'> {
  const present = (name: string) => (existsSync(join(folder, name)) ? join(folder, name) : undefined)
  return { ca: present('ca.pem'), cert: present('cert.pem'), key: present('key.pem') }
}

function normalise(host: string): string {
  if (host.startsWith('/')) return `unix://${host}`
  const target = host.includes('://') ? host : `tcp://${host}`
  if (!/^(unix|tcp|http|https|ssh):\/\/./.test(target))
    throw invalidConfig('host', "an endpoint such as 'unix:///var/run/docker.sock', 'tcp://host:2375' or 'ssh://user@host'", host)
  return target
}
