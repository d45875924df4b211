import { VMKitError } from '@vmkit/core'
import { invalidConfig, type MachineConfig } from '@vmkit/core/driver'
import { type DockerMachineOptions, type Healthcheck, machineOptions } from './machine-options.js'

/** What the engine at hand can take. */
export interface EngineTraits {
  atLeast(apiVersion: string): boolean
}

/** The body of `POST /containers/create`, and the networks that an engine before API 1.44 joins only afterwards. */
export interface ContainerSpec {
  body: Record<string, unknown>
  laterNetworks: { name: string; settings: Record<string, unknown> }[]
}

const NANOS_PER_MS = 1e6
const CDI_API = '1.44'
const MANY_NETWORKS_API = '1.44'
const NETWORK_MODES = new Set(['host', 'none'])

/**
 * Docker's words for a machine. Refuses, by its name, every field that this engine would drop or bend.
 * @throws VMKitError `INVALID_CONFIG`, `UNSUPPORTED`
 */
export function containerSpec(config: MachineConfig, image: string, labels: Record<string, string>, engine: EngineTraits): ContainerSpec {
  const options = machineOptions(config)
  refuseConflicts(config)
  const networks = networkSettings(config, engine)
  const [first, ...others] = networks
  const joinsAllAtOnce = engine.atLeast(MANY_NETWORKS_API)
  const now = first ? (joinsAllAtOnce ? networks : [first]) : []
  return {
    laterNetworks: joinsAllAtOnce ? [] : others,
    body: {
      Image: image,
      ...(config.command ? { Entrypoint: config.command } : {}),
      ...(config.args ? { Cmd: config.args } : {}),
      Env: Object.entries(config.env).map(([key, value]) => `${key}=${value}`),
      ...(config.workdir === undefined ? {} : { WorkingDir: config.workdir }),
      ...(config.user === undefined ? {} : { User: config.user }),
      Tty: config.tty,
      OpenStdin: config.stdin,
      StdinOnce: options.stdinOnce ?? false,
      StopSignal: config.stop.signal,
      StopTimeout: Math.ceil(config.stop.graceMs / 1000),
      Labels: labels,
      Hostname: options.hostname,
      Domainname: options.domainname,
      ...(options.healthcheck ? { Healthcheck: healthcheck(options.healthcheck) } : {}),
      ...(first?.mac !== undefined && !joinsAllAtOnce ? { MacAddress: first.mac } : {}),
      ExposedPorts: Object.fromEntries(config.ports.map((port) => [`${port.guest}/${port.protocol}`, {}])),
      HostConfig: { ...hostConfig(config, options, engine), ...(first ? { NetworkMode: first.name } : {}) },
      NetworkingConfig: {
        EndpointsConfig: Object.fromEntries(
          now.filter(({ name }) => !NETWORK_MODES.has(name)).map(({ name, settings }) => [name, settings]),
        ),
      },
    },
  }
}

function hostConfig(config: MachineConfig, options: DockerMachineOptions, engine: EngineTraits): Record<string, unknown> {
  return {
    ...(config.cpus === undefined ? {} : { NanoCpus: Math.round(config.cpus * 1e9) }),
    ...(config.memory === undefined ? {} : { Memory: config.memory, MemorySwap: options.memorySwap ?? config.memory }),
    ...(config.pids === undefined ? {} : { PidsLimit: config.pids }),
    Mounts: [...config.mounts.map(bindMount), ...config.volumes.map(volumeMount)],
    PortBindings: portBindings(config),
    ...(config.restart ? { RestartPolicy: restartPolicy(config) } : {}),
    Devices: config.devices.flatMap((device) =>
      device.type === 'host'
        ? [{ PathOnHost: device.path, PathInContainer: device.guestPath ?? device.path, CgroupPermissions: device.permissions ?? 'rwm' }]
        : [],
    ),
    DeviceRequests: deviceRequests(config, engine),
    Privileged: options.privileged,
    CapAdd: options.capAdd,
    CapDrop: options.capDrop,
    SecurityOpt: options.securityOpt,
    ReadonlyRootfs: options.readOnlyRootfs,
    Tmpfs: options.tmpfs,
    ShmSize: options.shmSize,
    Init: options.init,
    Runtime: options.runtime,
    Dns: options.dns,
    DnsSearch: options.dnsSearch,
    ExtraHosts: options.extraHosts,
    Ulimits: options.ulimits?.map(({ name, soft, hard }) => ({ Name: name, Soft: soft, Hard: hard })),
    Sysctls: options.sysctls,
    GroupAdd: options.groupAdd,
    IpcMode: options.ipcMode,
    PidMode: options.pidMode,
    CgroupParent: options.cgroupParent,
    CpusetCpus: options.cpusetCpus,
    CpuShares: options.cpuShares,
    MemoryReservation: options.memoryReservation,
    OomScoreAdj: options.oomScoreAdj,
    ...(options.logDriver ? { LogConfig: { Type: options.logDriver.type, Config: options.logDriver.options ?? {} } } : {}),
  }
}

function bindMount(mount: MachineConfig['mounts'][number]): Record<string, unknown> {
  return { Type: 'bind', Source: mount.source, Target: mount.target, ReadOnly: mount.readOnly }
}

function volumeMount(volume: MachineConfig['volumes'][number]): Record<string, unknown> {
  return { Type: 'volume', Source: volume.name, Target: volume.target, ReadOnly: volume.readOnly, VolumeOptions: { Labels: VOLUME_LABELS } }
}

/** On every volume and network that vmkit makes; the value tells them from machines. */
export const VOLUME_LABELS: Readonly<Record<string, string>> = { 'vmkit.volume': 'true' }
export const NETWORK_LABELS: Readonly<Record<string, string>> = { 'vmkit.network': 'true' }

function portBindings(config: MachineConfig): Record<string, { HostIp: string; HostPort: string }[]> {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {}
  for (const { guest, host, hostIp, protocol } of config.ports) {
    const key = `${guest}/${protocol}`
    bindings[key] = [...(bindings[key] ?? []), { HostIp: hostIp, HostPort: host === 0 ? '' : String(host) }]
  }
  return bindings
}

function restartPolicy({ restart }: MachineConfig): Record<string, unknown> {
  return { Name: restart?.policy, MaximumRetryCount: restart?.maxRetries ?? 0 }
}

function deviceRequests({ devices }: MachineConfig, engine: EngineTraits): Record<string, unknown>[] {
  return devices.flatMap((device, index): Record<string, unknown>[] => {
    const field = `config.devices.${index}`
    switch (device.type) {
      case 'host':
        return []
      case 'gpu':
        if (device.count !== undefined && device.ids !== undefined)
          throw invalidConfig(`${field}.count`, '`count` or `ids`, not both', device.count)
        return [
          {
            ...(device.ids
              ? { DeviceIDs: device.ids }
              : { Count: device.count === undefined || device.count === 'all' ? -1 : device.count }),
            Capabilities: [['gpu', ...(device.capabilities ?? []).filter((name) => name !== 'gpu')]],
          },
        ]
      case 'cdi':
        if (!engine.atLeast(CDI_API))
          throw unsupported(`${field}.type`, `CDI devices need an engine with API ${CDI_API} (Docker 25) or later`)
        return [{ Driver: 'cdi', DeviceIDs: [device.name] }]
      default:
        throw unsupported(`${field}.type`, `Docker gives containers devices of type host, gpu and cdi, not ${device.type}`)
    }
  })
}

interface NetworkSettings {
  name: string
  mac?: string
  settings: Record<string, unknown>
}

function networkSettings({ networks }: MachineConfig, engine: EngineTraits): NetworkSettings[] {
  return networks.map(({ name, aliases, ip, mac }, index) => {
    if (mac !== undefined && index > 0 && !engine.atLeast(MANY_NETWORKS_API)) {
      throw unsupported(
        `config.networks.${index}.mac`,
        `an engine before API ${MANY_NETWORKS_API} sets the MAC address of the first network only`,
      )
    }
    const isV6 = ip?.includes(':') ?? false
    return {
      name,
      mac,
      settings: {
        ...(aliases.length > 0 ? { Aliases: aliases } : {}),
        ...(ip === undefined ? {} : { IPAMConfig: isV6 ? { IPv6Address: ip } : { IPv4Address: ip } }),
        ...(mac !== undefined && engine.atLeast(MANY_NETWORKS_API) ? { MacAddress: mac } : {}),
      },
    }
  })
}

function healthcheck(check: Healthcheck): Record<string, unknown> {
  const nanos = (ms: number | undefined) => (ms === undefined ? undefined : ms * NANOS_PER_MS)
  return {
    Test: check.test,
    Interval: nanos(check.intervalMs),
    Timeout: nanos(check.timeoutMs),
    StartPeriod: nanos(check.startPeriodMs),
    Retries: check.retries,
  }
}

/** Combinations of which the engine would drop one half without a word. */
function refuseConflicts({ networks, ports, restart }: MachineConfig): void {
  const mode = networks.findIndex(({ name }) => NETWORK_MODES.has(name))
  if (mode >= 0) {
    const { name, aliases, ip, mac } = networks[mode] as MachineConfig['networks'][number]
    if (networks.length > 1) throw unsupported(`config.networks.${mode}`, `the network ${name} cannot be joined together with others`)
    if (ports.length > 0) throw unsupported('config.ports', `the network ${name} has no published ports`)
    if (aliases.length > 0 || ip !== undefined || mac !== undefined)
      throw unsupported(`config.networks.${mode}`, `the network ${name} takes no aliases, ip and mac`)
  }
  if (restart?.maxRetries !== undefined && restart.policy !== 'on-failure') {
    throw unsupported('config.restart.maxRetries', `Docker counts retries for the policy on-failure only, not for ${restart.policy}`)
  }
}

function unsupported(field: string, reason: string): VMKitError {
  return new VMKitError('UNSUPPORTED', `The docker driver cannot honour \`${field}\`: ${reason}`, {
    driver: 'docker',
    operation: 'create',
    field,
  })
}
