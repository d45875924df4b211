/**
 * The lock of one machine, across processes and within this one. A claim is a file of a name that is never used again: make
 * it, then look; when another live claim is there, withdraw and try again. Of two holders one must have looked after the
 * other's claim was there, so there are never two. A claim of a dead process counts for nothing and is removed by whoever
 * sees it: no takeover, hence no race in one.
 */
import { closeSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { VMKitError } from '../driver-kit.js'
import { formatIdentity, isAlive, ownIdentity, parseIdentity } from './identity.js'
import { randomSuffix } from './random-suffix.js'
import { errno, systemError } from './system-error.js'

const CLAIM = /^lock\.([A-Za-z]+)\.(\d+\.\d+\.[0-9a-f]{32})\.[0-9a-f]+$/
const RETRY_MS = 4

export interface LockTarget {
  id: string
  folder: string
}

export interface Claim {
  /** Its file. */
  name: string
  operation: string
  /** Whoever made it is still there. */
  isLive: boolean
}

/** The claims among the names of the files of a machine. */
export function claimsAmong(names: readonly string[]): Claim[] {
  const claims: Claim[] = []
  for (const name of names) {
    const match = CLAIM.exec(name)
    const owner = match ? parseIdentity(match[2] as string) : undefined
    if (match && owner) claims.push({ name, operation: match[1] as string, isLive: isAlive(owner) })
  }
  return claims
}

/**
 * Runs `task` while no other process, and no other call of this one, holds the lock.
 * @throws VMKitError `NOT_FOUND` when the machine is gone; `CONFLICT` when `signal` fires first
 */
export async function withLock<T>(machine: LockTarget, operation: string, signal: AbortSignal, task: () => Promise<T>): Promise<T> {
  const claim = join(machine.folder, `lock.${operation}.${formatIdentity(ownIdentity())}.${randomSuffix()}`)
  while (!tryClaim(machine, claim)) {
    // As long as somebody holds it only looked at: every claim wakes those who watch the folder.
    do {
      // Different delays keep two that withdrew together from meeting again.
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS + Math.random() * RETRY_MS))
      if (signal.aborted) throw heldByAnother(machine, operation, signal.reason)
    } while (isHeld(machine))
  }
  try {
    return await task()
  } finally {
    rmSync(claim, { force: true })
  }
}

function isHeld({ folder }: LockTarget): boolean {
  try {
    return claimsAmong(readdirSync(folder)).some(({ isLive }) => isLive)
  } catch {
    return false // Gone: to claim it tells.
  }
}

function heldByAnother({ id }: LockTarget, operation: string, cause: unknown): VMKitError {
  return new VMKitError('CONFLICT', `Another operation holds the machine ${id}`, { operation, vmId: id, cause })
}

function tryClaim(machine: LockTarget, claim: string): boolean {
  try {
    closeSync(openSync(claim, 'wx', 0o600))
    const mine = claim.slice(machine.folder.length + 1)
    let isFree = true
    for (const { name, isLive } of claimsAmong(readdirSync(machine.folder))) {
      if (!isLive) rmSync(join(machine.folder, name), { force: true })
      else if (name !== mine) isFree = false
    }
    if (!isFree) rmSync(claim, { force: true })
    return isFree
  } catch (error) {
    if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') {
      throw new VMKitError('NOT_FOUND', `There is no machine ${JSON.stringify(machine.id)}`, { vmId: machine.id, cause: error })
    }
    rmSync(claim, { force: true })
    throw systemError(error, { vmId: machine.id })
  }
}
