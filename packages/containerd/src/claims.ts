import { existsSync, readdirSync } from 'node:fs'
import { claimsAmong } from '@vmkit/core/state-folder'

export type Claims = 'none' | 'live' | 'dead'

/** What claims there are on the folder of a machine. */
export function claimsOn(folder: string): Claims {
  const claims = claimsAmong(readdirSync(folder))
  if (claims.length === 0) return 'none'
  return claims.some(({ isLive }) => isLive) ? 'live' : 'dead'
}

/** Whether somebody works on the machine now; with `operation`, on just that. */
export function hasLiveClaim(folder: string, operation?: string): boolean {
  if (!existsSync(folder)) return false
  return claimsAmong(readdirSync(folder)).some((claim) => claim.isLive && claim.operation === (operation ?? claim.operation))
}
