/** What this driver can do; the probe takes back what the daemon and the host at hand lack. */
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
  files: true,
  'files.archive': true,
  ports: 'probe',
  mounts: true,
  volumes: true,
  networks: 'probe',
  restart: 'probe',
  'limits.cpu': 'probe',
  'limits.memory': 'probe',
  'limits.pids': 'probe',
  resize: 'probe',
  images: true,
} as const)

export type ContainerdCapabilities = typeof capabilities
