import type { CapabilityManifest } from '@vmkit/core/driver'

/** What a host process can do; the probe says what of `'probe'` this host has. */
export const capabilities = Object.freeze({
  pause: true,
  exec: true,
  'exec.stream': true,
  'exec.stdin': true,
  'exec.kill': true,
  logs: true,
  ports: true,
} as const) satisfies CapabilityManifest
