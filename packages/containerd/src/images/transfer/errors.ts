/** What the Transfer service says of a registry, for which gRPC has no code → VMKitError. */
import { inspect } from 'node:util'
import { VMKitError, type VMKitErrorDetails } from '@vmkit/core/driver'

/** The words of containerd 2.1 and of Go's net/http. The first match wins. */
const ROWS: readonly { words: RegExp; means: VMKitError['code'] }[] = [
  {
    words: /unexpected status [^\n]*: (401|403)\b|insufficient_scope|authorization failed|pull access denied|failed to authorize/i,
    means: 'PERMISSION_DENIED',
  },
  { words: /unexpected commit (digest|size)|failed size validation|digest mismatch/i, means: 'BACKEND_ERROR' },
  {
    words:
      /dial tcp|x509: |tls: |HTTP response to HTTPS client|connection (refused|reset)|no such host|i\/o timeout|: (unexpected )?EOF$|failed to do request/i,
    means: 'BACKEND_UNAVAILABLE',
  },
  { words: /wrong diff id|failed to extract layer/i, means: 'INVALID_CONFIG' },
]

/** `secret`: the daemon's words are those of the registry too, and may hold what it was given. */
export function transferError(error: unknown, driver: string, secret: string | undefined): unknown {
  if (!(error instanceof VMKitError) || error.code === 'ABORTED') return error
  const row = ROWS.find(({ words }) => words.test(error.message))
  const isTold = secret !== undefined && secret !== '' && inspect(error, { depth: 8 }).includes(secret)
  if (row === undefined && !isTold) return error
  const details: VMKitErrorDetails = { driver, operation: 'pull', ...(isTold ? {} : { cause: error.cause }) }
  return new VMKitError(row?.means ?? error.code, isTold ? error.message.replaceAll(secret, '***') : error.message, details)
}
