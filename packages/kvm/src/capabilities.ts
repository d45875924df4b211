import type { CapabilityManifest } from '@vmkit/core/driver'

/** What a virtual machine can do; the probe says what of `'probe'` this host has. */
export const capabilities = Object.freeze({
  pause: true,
  logs: true,
  events: true,
  exec: 'probe',
  'exec.stream': 'probe',
  'exec.stdin': 'probe',
  'exec.tty': 'probe',
  'exec.kill': 'probe',
  files: 'probe',
  'files.archive': 'probe',
  'limits.pids': 'probe',
  console: true,
  vnc: 'probe',
  resize: true,
  ports: true,
  'limits.cpu': true,
  'limits.memory': true,
  'snapshot.disk': 'probe',
  'snapshot.memory': 'probe',
  'migrate.cold': 'probe',
  'migrate.live': 'probe',
} as const) satisfies CapabilityManifest
