import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const BACKENDS = fileURLToPath(new URL('../../../scripts/backends', import.meta.url))

/** What `scripts/backends env` prints; the environment goes first. */
export function backendEnv(name: string): string | undefined {
  if (process.env[name]) return process.env[name]
  try {
    const lines = execFileSync(BACKENDS, ['env'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')
    return lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1)
  } catch {
    return undefined
  }
}
