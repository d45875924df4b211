import { invalidConfig } from '@vmkit/core/driver'
import { IMAGE_FIELD } from './errors.js'
import type { ErrorContext } from './source.js'

export interface Reference {
  /** Host, with a port where one was given. Docker Hub is `docker.io`. */
  readonly registry: string
  /** Path in the registry, such as `library/nginx`. */
  readonly repository: string
  /** `latest` when neither a tag nor a digest was given. */
  readonly tag?: string
  readonly digest?: string
  /** As people write it: `nginx:latest`, without what Docker adds by itself. */
  readonly familiar: string
  /** With everything: `docker.io/library/nginx:latest`. */
  readonly canonical: string
}

// The grammar of https://github.com/distribution/reference, README and `reference.go`.
const HOST_PART = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?'
const HOST = new RegExp(`^(?:${HOST_PART}(?:\\.${HOST_PART})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`)
const PATH_PART = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*'
const REPOSITORY = new RegExp(`^${PATH_PART}(?:/${PATH_PART})*$`)
const TAG = /^\w[\w.-]{0,127}$/
const DIGEST = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/
const IMAGE_ID = /^[a-f0-9]{64}$/
const LONGEST_REPOSITORY = 255

export const DOCKER_HUB = 'docker.io'
const EXPECTED = 'an image reference, such as `nginx:1.27` or `registry.example/team/app@sha256:…`'

/** Reads a reference as Docker does: `nginx` is `docker.io/library/nginx:latest`. @throws `INVALID_CONFIG` */
export function parseReference(text: string, { field = IMAGE_FIELD, ...context }: ErrorContext = {}): Reference {
  const refuse = (expected = EXPECTED) => invalidConfig(field, expected, typeof text === 'string' ? withoutPassword(text) : text, context)
  if (typeof text !== 'string' || text === '') throw refuse()
  const [beforeDigest = '', digest, ...more] = text.split('@')
  if (more.length > 0) throw refuse()
  if (digest !== undefined && !DIGEST.test(digest)) throw refuse('a reference whose digest is `sha256:` and 64 hex digits in lower case')
  const { host, path } = splitHost(beforeDigest)
  const colon = path.indexOf(':')
  const name = colon < 0 ? path : path.slice(0, colon)
  const tag = colon < 0 ? (digest === undefined ? 'latest' : undefined) : path.slice(colon + 1)
  if (tag !== undefined && !TAG.test(tag)) throw refuse('a reference whose tag is of letters, digits, `_`, `.`, `-`, at most 128')
  if (host !== DOCKER_HUB && !HOST.test(host)) throw refuse()
  if (name !== name.toLowerCase()) throw refuse('a reference whose repository is in lower case')
  if (IMAGE_ID.test(beforeDigest)) throw refuse('a reference, not the id of an image')
  const repository = host === DOCKER_HUB && !name.includes('/') ? `library/${name}` : name
  if (!REPOSITORY.test(name) || repository.length > LONGEST_REPOSITORY) throw refuse()
  const suffix = `${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
  return {
    registry: host,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
    familiar: familiarName(host, repository) + suffix,
    canonical: `${host}/${repository}${suffix}`,
  }
}

/** Short, unless the first part of the path would then be taken for a host. */
function familiarName(host: string, repository: string): string {
  if (host !== DOCKER_HUB) return `${host}/${repository}`
  const short = repository.replace(/^library\/(?=[^/]+$)/, '')
  return splitHost(short).host === DOCKER_HUB ? short : `${host}/${repository}`
}

/** The first part is a host when it looks like one; else the image is Docker Hub's. */
function splitHost(text: string): { host: string; path: string } {
  const slash = text.indexOf('/')
  const first = text.slice(0, Math.max(slash, 0))
  const isHost = first !== '' && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase())
  if (!isHost) return { host: DOCKER_HUB, path: text }
  return { host: first === 'index.docker.io' ? DOCKER_HUB : first, path: text.slice(slash + 1) }
}

/** `user:password@host/…` is no reference, and its password belongs into no message. */
function withoutPassword(text: string): string {
  return text.replace(/^((?:\w+:\/\/)?)[^/@]*:[^/@]*@(?!sha\d)/, '$1…@')
}
