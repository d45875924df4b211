import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const BACKENDS = fileURLToPath(new URL('../../../scripts/backends', import.meta.url))
const NAME = 'VMKIT_KVM_NEXT_QEMU'

/** The newer QEMU that `scripts/backends up` unpacks; `undefined` where it is not there. */
export function nextQemu(): string | undefined {
  const path = process.env[NAME] ?? told()
  return path !== undefined && existsSync(path) ? path : undefined
}

function told(): string | undefined {
  try {
    const lines = execFileSync(BACKENDS, ['env'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')
    return lines.find((line) => line.startsWith(`${NAME}=`))?.slice(NAME.length + 1)
  } catch {
    return undefined
  }
}
