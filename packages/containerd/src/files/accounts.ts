import type { CallContext } from '@vmkit/core/driver'
import { hasCode } from '../grpc/errors.js'
import type { Host, Machine } from '../host.js'
import { type Accounts, needsAccounts } from '../spec/users.js'
import { withRootfs } from './mount.js'
import { readFileIn } from './operations.js'

/** The accounts of a root folder. */
export async function readAccounts(root: string): Promise<Accounts> {
  return { passwd: await textOf(root, '/etc/passwd'), group: await textOf(root, '/etc/group') }
}

/** Those of a machine as they are now; nothing is read for root. */
export async function accountsOf(host: Host, machine: Machine, user: string, ctx: CallContext): Promise<Accounts> {
  if (needsAccounts(user)) {
    if (host.variation.accounts) return host.variation.accounts(machine.id, ctx)
    for await (const accounts of withRootfs(host, machine, ctx, async function* (root) {
      yield await readAccounts(root)
    }))
      return accounts
  }
  return { passwd: '', group: '' }
}

async function textOf(root: string, path: string): Promise<string> {
  const chunks: Uint8Array[] = []
  try {
    for await (const chunk of readFileIn(root, path)) chunks.push(chunk)
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND')) throw error
  }
  return Buffer.concat(chunks).toString('utf8')
}
