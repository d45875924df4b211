/**
 * The lock of one machine, across processes. A claim is a file of a name that is never used again: make it, then look; when
 * another live claim is there, withdraw and try again. Of two holders one must have looked after the other's claim was
 * there, so there are never two. A claim of a dead process counts for nothing and is removed by whoever sees it: no
 * takeover, hence no race in one.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { DRIVER, errno, notFound, systemError } from './errors.js'
import { formatIdentity, isRunning, ownIdentity, parseIdentity } from './identity.js'

const CLAIM = /^lock\.([a-z]+)\.(\d+\.\d+\.[0-9a-f]{32})\.[0-9a-f]+$/
const RETRY_MS = 4

export interface LockTarget {
  id: string
  folder: string
}

/** The operation of a live claim among the files of a machine. */
export function claimedFor(names: readonly string[]): string | undefined {
  return liveClaims(names)[0]?.operation
}

function liveClaims(names: readonly string[], onStale?: (name: string) => void): { name: string; operation: string }[] {
  const claims: { name: string; operation: string }[] = []
  for (const name of names) {
    const match = CLAIM.exec(name)
    const owner = match ? parseIdentity(match[2] as string) : undefined
    if (!match || !owner) continue
    if (isRunning(owner)) claims.push({ name, operation: match[1] as string })
    else onStale?.(name)
  }
  return claims
}

/**
 * Runs `task` while no other process, and no other call of this one, holds the lock.
 * @throws VMKitError `NOT_FOUND` when the machine is gone; `CONFLICT` when `signal` fires first
 */
export async function withLock<T>(machine: LockTarget, operation: string, signal: AbortSignal, task: () => Promise<T>): Promise<T> {
  const claim = join(machine.folder, `lock.${operation}.${formatIdentity(ownIdentity())}.${randomBytes(6).toString('hex')}`)
  while (!tryClaim(machine, claim)) {
    // Different delays keep two that withdrew together from meeting again.
    await delay(RETRY_MS + Math.random() * RETRY_MS)
    if (signal.aborted) {
      throw new VMKitError('CONFLICT', `Another operation holds the machine ${machine.id}`, {
        driver: DRIVER,
        operation,
        vmId: machine.id,
        cause: signal.reason,
      })
    }
  }
  try {
    return await task()
  } finally {
    rmSync(claim, { force: true })
  }
}

function tryClaim(machine: LockTarget, claim: string): boolean {
  try {
    closeSync(openSync(claim, 'wx', 0o600))
    const mine = claim.slice(machine.folder.length + 1)
    const others = liveClaims(readdirSync(machine.folder), (stale) => rmSync(join(machine.folder, stale), { force: true }))
    if (others.every(({ name }) => name === mine)) return true
    rmSync(claim, { force: true })
    return false
  } catch (error) {
    if (errno(error) === 'ENOENT') throw notFound(machine.id)
    rmSync(claim, { force: true })
    throw systemError(error, { vmId: machine.id })
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
