/**
 * One lifecycle operation on a machine at a time, across processes. A claim is a file with a name that is never used again:
 * make it, then look; when another live claim is there, withdraw and try later. Of two holders one must have looked after the
 * other's claim was there, so there are never two. Claims of processes that are gone count for nothing.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { VMKitError } from '@vmkit/core/driver'

const CLAIM = /^lock\.(\d+)\.(\d+)\.[0-9a-f]+$/
const RETRY_MS = 3

/** Ticks since boot at which a process started (proc(5), field 22), so that a pid that is used again is told apart. */
function startTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

let ownTicks: string | undefined

function claimName(): string {
  ownTicks ??= startTicks(process.pid) ?? '0'
  return `lock.${process.pid}.${ownTicks}.${randomBytes(6).toString('hex')}`
}

export type Claims = 'none' | 'live' | 'dead'

/** What claims there are on a folder. */
export function claimsOn(folder: string): Claims {
  const claims = readdirSync(folder).filter((name) => CLAIM.test(name))
  if (claims.length === 0) return 'none'
  return claims.some(isLive) ? 'live' : 'dead'
}

/** Whether somebody works on the machine now. */
export function hasLiveClaim(folder: string): boolean {
  return existsSync(folder) && claimsOn(folder) === 'live'
}

function isLive(name: string): boolean {
  const [, pid, ticks] = CLAIM.exec(name) as unknown as [string, string, string]
  return startTicks(Number(pid)) === ticks
}

/** @throws VMKitError `NOT_FOUND` when the folder is gone; the reason of `signal` when it fires while waiting */
export async function withLock<T>(target: { id: string; folder: string }, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const name = claimName()
  const claim = join(target.folder, name)
  while (!tryClaim(target, claim, name)) {
    // Different delays keep two that withdrew together from meeting again.
    await delay(RETRY_MS + Math.random() * RETRY_MS)
    signal.throwIfAborted()
  }
  try {
    return await work()
  } finally {
    rmSync(claim, { force: true })
  }
}

function tryClaim(target: { id: string; folder: string }, claim: string, name: string): boolean {
  orNotFound(target, () => closeSync(openSync(claim, 'wx', 0o600)))
  const others = claimsIn(target).filter((other) => other !== name)
  for (const dead of others.filter((other) => !isLive(other))) rmSync(join(target.folder, dead), { force: true })
  if (others.every((other) => !isLive(other))) return true
  rmSync(claim, { force: true })
  return false
}

function claimsIn(target: { id: string; folder: string }): string[] {
  return orNotFound(target, () => readdirSync(target.folder)).filter((name) => CLAIM.test(name))
}

/** The folder goes with the machine. */
function orNotFound<T>({ id }: { id: string }, look: () => T): T {
  try {
    return look()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new VMKitError('NOT_FOUND', `There is no machine ${id}`, { vmId: id })
  }
}
