import { existsSync } from 'node:fs'
import { backendEnv } from './backend-env.js'

/** The newer QEMU that `scripts/backends up` unpacks; `undefined` where it is not there. */
export function nextQemu(): string | undefined {
  const path = backendEnv('VMKIT_KVM_NEXT_QEMU')
  return path !== undefined && existsSync(path) ? path : undefined
}
