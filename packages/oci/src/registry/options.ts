import type { Progress } from '@vmkit/core'
import type { ErrorContext } from '../source.js'
import type { Credentials } from './credentials.js'

export interface RegistryOptions {
  /** Default: what the Docker config file has. `false`: none. */
  credentials?: Credentials | false
  /** Speak http. Default: only with a registry on loopback. */
  plainHttp?: boolean
  /** Do not check the certificate. */
  insecure?: boolean
  /** Certificates (PEM) of authorities to trust beside those of Node. */
  ca?: string
  /** How long a registry may be silent, in milliseconds. Default 30 000. */
  idleTimeoutMs?: number
  /** How often a request is made again after 429, 5xx or a cut connection; progress of a blob starts the count anew. Default 5. */
  retries?: number
  signal?: AbortSignal
  /** Bytes of each blob, with its digest as the item. */
  report?(progress: Progress): void
  errors?: ErrorContext
}
