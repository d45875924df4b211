import type { Missing } from '@vmkit/core/driver'

/** What Kata can do; the probe takes back what the hypervisor and the host at hand lack. */
export const capabilities = Object.freeze({
  pause: 'probe',
  exec: true,
  'exec.stream': true,
  'exec.stdin': true,
  'exec.tty': true,
  'exec.kill': true,
  logs: true,
  'logs.since': 'probe',
  attach: true,
  events: true,
  ports: 'probe',
  mounts: 'probe',
  volumes: 'probe',
  networks: 'probe',
  'limits.cpu': 'probe',
  'limits.memory': 'probe',
  'limits.pids': 'probe',
  resize: 'probe',
  'snapshot.disk': true,
  clone: true,
  'migrate.cold': true,
  bundle: true,
  images: true,
} as const)

export type KataCapabilities = typeof capabilities

/** What no Kata has, with what a person wants to know. */
export const NEVER: Missing = {
  'snapshot.memory': "Kata's shim has no Checkpoint: the memory of a sandbox cannot be saved",
  'migrate.live': "Kata's shim has no Checkpoint: a running sandbox cannot be moved; `migrate.cold` moves a stopped one",
  restart: "containerd's restart monitor was not brought to count the runs of a sandbox",
}
