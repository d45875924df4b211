import type { PullRequest } from '@vmkit/core/driver'
import type { Environment } from './endpoints.js'
import type { RegistryAuth } from './options.js'

const DOCKER_HUB = 'docker.io'

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

/** What the Docker config file and its credential helpers have: for all drivers that is the business of `@vmkit/oci`. */
async function fromConfigFile(registry: string, env: Environment): Promise<RegistryAuth | undefined> {
  const { findCredentials } = await import('@vmkit/oci')
  const found = await findCredentials(registry, { env, errors: { driver: 'docker', operation: 'pull' } })
  return found && 'token' in found ? { identityToken: found.token } : found
}
