import type { CapabilityManifest } from '@vmkit/core/driver'

/** What a host process can do; the probe says what of `'probe'` this host has. */
export const capabilities = Object.freeze({
  pause: true,
  exec: true,
  'exec.stream': true,
  'exec.stdin': true,
  'exec.tty': 'probe',
  'exec.kill': true,
  logs: true,
  attach: true,
  events: true,
  files: true,
  'files.archive': 'probe',
  ports: true,
  'limits.cpu': 'probe',
  'limits.memory': 'probe',
  'limits.pids': 'probe',
  resize: 'probe',
} as const) satisfies CapabilityManifest
