/** What `scripts/backends` started, for tests and benches of every package. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

export const BACKENDS = join(import.meta.dirname, '../backends')

/** What `scripts/backends env` prints; the environment goes first. */
export function backendEnv(name: string): string | undefined {
  if (process.env[name]) return process.env[name]
  try {
    const lines = execFileSync(BACKENDS, ['env'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')
    return lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1)
  } catch {
    // It is made for Debian; elsewhere an engine may run all the same.
    return undefined
  }
}

/** The same, of a socket or a program; `undefined` when it is not there. */
export function backendPath(name: string): string | undefined {
  const path = backendEnv(name)
  return path !== undefined && existsSync(path) ? path : undefined
}
