import type { CapabilityManifest } from '@vmkit/core/driver'

/**
 * Everything but a screen: in memory there is nothing to show. The option `without`
 * takes any of them away at run time; the types then promise more than there is, as a test of refusals wants it.
 */
export const capabilities = Object.freeze({
  pause: true,
  exec: true,
  'exec.stream': true,
  'exec.stdin': true,
  'exec.tty': true,
  'exec.kill': true,
  logs: true,
  'logs.since': true,
  attach: true,
  events: true,
  files: true,
  'files.archive': true,
  console: true,
  ports: true,
  mounts: true,
  volumes: true,
  networks: true,
  restart: true,
  'limits.cpu': true,
  'limits.memory': true,
  'limits.pids': true,
  resize: true,
  rename: true,
  devices: true,
  'snapshot.disk': true,
  'snapshot.memory': true,
  clone: true,
  'clone.memory': true,
  'migrate.cold': true,
  'migrate.live': true,
  images: true,
  'images.export': true,
  build: true,
  bundle: true,
} as const) satisfies CapabilityManifest
