import { readFileSync } from 'node:fs'
import { ALL_CAPABILITIES } from './defaults.js'

/** Those that this host can give: root of a host that is itself confined lacks some, and the runtime fails on them (proc(5), CapBnd). */
export function hostCapabilities(status = readFileSync('/proc/self/status', 'latin1')): readonly string[] {
  const mask = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  return ALL_CAPABILITIES.filter((_name, bit) => (mask >> BigInt(bit)) & 1n)
}
