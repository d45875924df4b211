import type { MachineConfig, PublishedPort, VMExit, VMHealth, VMInfo, VMState, VMStatus, VMSummary } from '@vmkit/core/driver'
import { configOf, LABEL, nameOf, publicLabels } from './labels.js'
import { missingOf } from './missing.js'
import { type ContainerInspect, type ContainerListEntry, type ContainerState, timeOf } from './wire.js'

// What an unknown config reads as, when somebody removed or broke the label.
const NO_CONFIG: Omit<MachineConfig, 'name' | 'labels'> = {
  env: {},
  tty: false,
  stdin: false,
  mounts: [],
  volumes: [],
  ports: [],
  networks: [],
  devices: [],
  stop: { signal: 'SIGTERM', graceMs: 10_000 },
  pull: 'missing',
  files: [],
  driverOptions: {},
}

/** Docker's state, in the words of the contract. A container whose start failed keeps `created`, as the contract has it. */
export function stateOf(state: ContainerState): { state: VMState; reason?: string } {
  const neverRan = timeOf(state.StartedAt) === null
  if (state.Paused) return { state: 'paused' }
  if (state.Restarting) return { state: 'starting', reason: 'the restart policy starts it again' }
  if (state.Running) return { state: 'running' }
  if (state.Dead || state.Status === 'dead') return { state: 'failed', reason: state.Error || 'the engine could not remove it' }
  if (state.Status === 'removing') return { state: 'stopping', reason: 'it is being removed' }
  if (state.Status === 'created' || state.Status === 'configured' || neverRan)
    return { state: 'created', ...(state.Error ? { reason: state.Error } : {}) }
  return { state: 'stopped', ...(state.Error ? { reason: state.Error } : {}) }
}

/** Statuses as `GET /containers/json` tells them. */
function stateOfListed({ State }: ContainerListEntry): VMState {
  switch (State) {
    case 'created':
    case 'configured':
      return 'created'
    case 'running':
      return 'running'
    case 'paused':
      return 'paused'
    case 'restarting':
      return 'starting'
    case 'removing':
      return 'stopping'
    case 'exited':
    case 'stopped':
      return 'stopped'
    case 'dead':
      return 'failed'
    default:
      return 'unknown'
  }
}

/** Codes above this are what Docker says for a death by signal, and for an `exit` of the same number. */
const LAST_PLAIN_CODE = 128
const KILLED = 137

/** The exit of the last run; `undefined` while it never ran, or runs. */
export function exitOf(state: ContainerState): VMExit | undefined {
  if (state.Running || state.Restarting || timeOf(state.StartedAt) === null || timeOf(state.FinishedAt) === null) return undefined
  return exitFrom(state.ExitCode, state.OOMKilled, timeOf(state.FinishedAt))
}

export function exitFrom(code: number, oomKilled: boolean | null, at: number | null): VMExit {
  const isOom = oomKilled === true && code === KILLED
  const reason = isOom ? 'oom' : code >= 0 && code <= LAST_PLAIN_CODE ? 'exited' : 'unknown'
  return { code, signal: null, oom: oomKilled, reason, at }
}

/** A restored machine has run, although its container has not. */
function wasRestored(labels: Record<string, string> | null | undefined): boolean {
  return Boolean(labels?.[LABEL.restoredFrom])
}

export function statusOf({ State, Config }: ContainerInspect): VMStatus {
  const exit = exitOf(State)
  const health = healthOf(State.Health?.Status)
  const found = stateOf(State)
  const now = found.state === 'created' && wasRestored(Config.Labels) ? { ...found, state: 'stopped' as const } : found
  return { ...now, ...(exit ? { exit } : {}), ...(health ? { health } : {}) }
}

export function healthOf(status: string | undefined): VMHealth | undefined {
  return status === 'starting' || status === 'healthy' || status === 'unhealthy' ? status : undefined
}

export function infoOf(container: ContainerInspect, engine: { isLocal: boolean }): VMInfo {
  const { Config, State, NetworkSettings } = container
  const labels = publicLabels(Config.Labels)
  const name = nameOf(Config.Labels, container.Name)
  const isActive = State.Running || State.Paused
  const config = configOf(Config.Labels, container.Name) ?? { ...NO_CONFIG, name, labels }
  return {
    id: container.Id,
    name,
    driver: 'docker',
    labels,
    createdAt: timeOf(container.Created) ?? 0,
    ...statusOf(container),
    config: { ...config, ...limitsOf(container) },
    missing: missingOf(config),
    addresses: isActive && engine.isLocal ? addressesOf(container) : [],
    ports: isActive ? portsOf(NetworkSettings.Ports) : [],
    startedAt: timeOf(State.StartedAt),
    pid: isActive && State.Pid > 0 ? State.Pid : null,
    details: {
      image: container.Image,
      runtime: container.HostConfig.Runtime ?? null,
      networkMode: container.HostConfig.NetworkMode,
      restartCount: container.RestartCount,
    },
  }
}

/** The limits of now: a resize changes them, a label cannot change. */
function limitsOf({ HostConfig: { NanoCpus, Memory, PidsLimit } }: ContainerInspect): Pick<MachineConfig, 'cpus' | 'memory' | 'pids'> {
  return {
    ...(NanoCpus ? { cpus: NanoCpus / 1e9 } : {}),
    ...(Memory ? { memory: Memory } : {}),
    ...(PidsLimit && PidsLimit > 0 ? { pids: PidsLimit } : {}),
  }
}

/** Only a bridge on this host is reached by the container's own address. */
function addressesOf({ NetworkSettings, HostConfig }: ContainerInspect): string[] {
  if (HostConfig.NetworkMode === 'host') return ['127.0.0.1']
  return Object.values(NetworkSettings.Networks ?? {}).flatMap(({ IPAddress }) => (IPAddress ? [IPAddress] : []))
}

function portsOf(ports: ContainerInspect['NetworkSettings']['Ports']): PublishedPort[] {
  return Object.entries(ports ?? {}).flatMap(([key, bindings]) => {
    const [guest, protocol] = key.split('/')
    return (bindings ?? []).map(({ HostIp, HostPort }) => ({
      guest: Number(guest),
      host: Number(HostPort),
      hostIp: HostIp === '' ? '0.0.0.0' : HostIp,
      protocol: protocol === 'udp' ? ('udp' as const) : ('tcp' as const),
    }))
  })
}

export function summaryOf(entry: ContainerListEntry): VMSummary {
  return {
    id: entry.Id,
    name: nameOf(entry.Labels, entry.Names[0] ?? ''),
    driver: 'docker',
    state: stateOfListed(entry) === 'created' && wasRestored(entry.Labels) ? 'stopped' : stateOfListed(entry),
    labels: publicLabels(entry.Labels),
    createdAt: entry.Created * 1000,
  }
}
