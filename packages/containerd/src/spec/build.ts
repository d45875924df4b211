/** Image config + machine config + resolved user → OCI runtime spec. Pure: whatever the host says is in the input. */
import { invalidConfig, type MachineConfig, VMKitError } from '@vmkit/core/driver'
import type { ContainerdMachineOptions } from '../machine-options.js'
import {
  ALL_CAPABILITIES,
  DEFAULT_CAPABILITIES,
  DEFAULT_PATH,
  DEFAULT_SHM_BYTES,
  defaultMounts,
  MASKED_PATHS,
  READONLY_PATHS,
} from './defaults.js'
import type { HostDevices } from './devices.js'
import { resourcesOf } from './resources.js'
import { seccompProfile } from './seccomp.js'
import type { Spec, SpecMount, SpecProcess, SpecResources } from './types.js'
import type { ResolvedUser } from './users.js'

/** What an OCI image says of the process in it (image-spec, config.md). */
export interface ImageProcess {
  User?: string
  Env?: readonly string[] | null
  Entrypoint?: readonly string[] | null
  Cmd?: readonly string[] | null
  WorkingDir?: string
  StopSignal?: string
}

export interface SpecInput {
  config: MachineConfig
  options: ContainerdMachineOptions
  image: ImageProcess
  user: ResolvedUser
  host: HostDevices
  hostname: string
  /** Path of a network namespace, `host`, or a new empty one. */
  network: { path: string } | 'host' | 'none'
  /** Files of this host for `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`. */
  hostFiles: { hosts: string; hostname: string; resolvConf: string }
  /** Folder of this host behind each of the config's volumes. */
  volumeFolders: readonly string[]
  cgroupsPath: string
  /** The kernel accounts swap. */
  hasSwap: boolean
  /** `process.arch`. */
  arch: string
  /** The capabilities that there are to be given; asked for when a machine wants more than the usual ones. */
  grantable(): readonly string[]
  annotations?: Readonly<Record<string, string>>
}

export function buildSpec(input: SpecInput): Spec {
  const { config, options, host, network } = input
  const privileged = options.privileged ?? false
  const capabilities = grantedCapabilities(options, input.grantable)
  const filtered = !privileged && options.seccomp !== 'unconfined'
  const namespaces = [
    { type: 'mount' },
    { type: 'uts' },
    ...(options.ipcMode === 'host' ? [] : [{ type: 'ipc' }]),
    ...(options.pidMode === 'host' ? [] : [{ type: 'pid' }]),
    ...(network === 'host' ? [] : [network === 'none' ? { type: 'network' } : { type: 'network', path: network.path }]),
  ]
  // runc before 1.2 takes no `domainname` of the spec, and says nothing.
  const sysctl = { ...(options.domainname === undefined ? {} : { 'kernel.domainname': options.domainname }), ...options.sysctls }
  return {
    ociVersion: '1.0.2',
    process: processOf(input, capabilities),
    root: { path: 'rootfs', readonly: options.readOnlyRootfs ?? false },
    hostname: input.hostname,
    mounts: mountsOf(input, privileged),
    annotations: { ...input.annotations, ...options.annotations },
    ...(Object.keys(host.edits.hooks).length === 0 ? {} : { hooks: host.edits.hooks }),
    linux: {
      namespaces,
      cgroupsPath: input.cgroupsPath,
      resources: machineResources(config, options, host, input.hasSwap),
      devices: host.devices,
      maskedPaths: privileged ? [] : [...MASKED_PATHS],
      readonlyPaths: privileged ? [] : [...READONLY_PATHS],
      ...(filtered ? { seccomp: seccompProfile(capabilities, input.arch) } : {}),
      ...(Object.keys(sysctl).length > 0 ? { sysctl } : {}),
    },
  }
}

/** The limits and the device rules: what a resize writes anew. */
function machineResources(
  config: Pick<MachineConfig, 'cpus' | 'memory' | 'pids'>,
  options: ContainerdMachineOptions,
  host: Pick<HostDevices, 'rules'>,
  hasSwap: boolean,
): SpecResources {
  // The runtime adds the devices that every container has, such as /dev/null, to a list that starts with "none".
  const devices = [{ allow: options.privileged ?? false, access: 'rwm' }, ...host.rules]
  return { devices, ...resourcesOf(config, options, hasSwap) }
}

function processOf(input: SpecInput, capabilities: string[]): SpecProcess {
  const { config, options, image, user, host } = input
  const args = argumentsOf(config, image)
  const { home: _home, ...ids } = user
  const gids = [...(ids.additionalGids ?? []), ...(options.groupAdd ?? []), ...host.edits.additionalGids]
  const isRoot = user.uid === 0
  return {
    terminal: config.tty,
    user: { ...ids, ...(gids.length > 0 ? { additionalGids: [...new Set(gids)] } : {}) },
    args,
    env: environmentOf(input),
    cwd: workdirOf(config, image),
    capabilities: {
      bounding: capabilities,
      // What the kernel gives a user other than root at execve(2): nothing.
      effective: isRoot ? capabilities : [],
      permitted: isRoot ? capabilities : [],
      inheritable: [],
      ambient: [],
    },
    noNewPrivileges: options.noNewPrivileges ?? false,
    ...(options.oomScoreAdj === undefined ? {} : { oomScoreAdj: options.oomScoreAdj }),
    ...(options.ulimits
      ? {
          rlimits: options.ulimits.map(({ name, soft, hard }) => ({
            type: `RLIMIT_${name.toUpperCase()}`,
            soft: limitOf(soft),
            hard: limitOf(hard),
          })),
        }
      : {}),
  }
}

/** RLIM_INFINITY in JSON: the largest whole number that survives it. */
function limitOf(value: number): number {
  return value === -1 ? Number.MAX_SAFE_INTEGER : value
}

/** `command` replaces ENTRYPOINT, and CMD with it unless `args` says otherwise; `args` alone replaces CMD. */
function argumentsOf({ command, args }: MachineConfig, image: ImageProcess): string[] {
  const all = [...(command ?? image.Entrypoint ?? []), ...(args ?? (command ? [] : (image.Cmd ?? [])))]
  if (all.length === 0) throw invalidConfig('config.command', 'a program, since the image names none', undefined)
  return all
}

export function workdirOf({ workdir }: MachineConfig, image: ImageProcess): string {
  return workdir ?? (image.WorkingDir || '/')
}

function environmentOf({ config, image, hostname, host }: SpecInput): string[] {
  const variables = new Map<string, string>([
    ['PATH', DEFAULT_PATH],
    ['HOSTNAME', hostname],
    ...(config.tty ? [['TERM', 'xterm'] as const] : []),
  ])
  for (const entry of [...(image.Env ?? []), ...host.edits.env]) {
    const equals = entry.indexOf('=')
    if (equals > 0) variables.set(entry.slice(0, equals), entry.slice(equals + 1))
  }
  for (const [name, value] of Object.entries(config.env)) variables.set(name, value)
  return [...variables].map(([name, value]) => `${name}=${value}`)
}

function grantedCapabilities(
  { privileged, capAdd = [], capDrop = [] }: ContainerdMachineOptions,
  grantable: SpecInput['grantable'],
): string[] {
  if (privileged) return [...grantable()]
  const add = capAdd.map((name, index) => capabilityName(name, `capAdd.${index}`))
  const drop = capDrop.map((name, index) => capabilityName(name, `capDrop.${index}`))
  const base = drop.includes('ALL') ? [] : DEFAULT_CAPABILITIES.filter((name) => !drop.includes(name))
  if (add.includes('ALL')) return grantable().filter((name) => !drop.includes(name))
  const lacking = add.find((name) => !base.includes(name) && !grantable().includes(name))
  if (lacking !== undefined) {
    const field = `config.driverOptions.containerd.capAdd.${add.indexOf(lacking)}`
    throw new VMKitError('UNSUPPORTED', `This host has no ${lacking} to give: this process itself lacks it`, { field, operation: 'create' })
  }
  return [...new Set([...base, ...add])]
}

function capabilityName(name: string, field: string): string {
  const upper = name.toUpperCase()
  const full = upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`
  if (full !== 'ALL' && !ALL_CAPABILITIES.includes(full))
    throw invalidConfig(`config.driverOptions.containerd.${field}`, 'a capability of Linux such as NET_ADMIN', name)
  return full
}

function mountsOf({ config, options, hostFiles, volumeFolders, host }: SpecInput, privileged: boolean): SpecMount[] {
  const own: SpecMount[] = [
    ...Object.entries(options.tmpfs ?? {}).map(([destination, text]) => ({
      destination,
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'nodev', 'noexec', ...text.split(',').filter((option) => option !== '')],
    })),
    ...config.mounts.map(({ source, target, readOnly }) => bind(source, target, readOnly)),
    ...config.volumes.map(({ target, readOnly }, index) => bind(volumeFolders[index] as string, target, readOnly)),
    ...host.edits.mounts,
  ]
  const taken = new Set(own.map(({ destination }) => destination))
  const files = [
    bind(hostFiles.hosts, '/etc/hosts', false),
    bind(hostFiles.hostname, '/etc/hostname', false),
    bind(hostFiles.resolvConf, '/etc/resolv.conf', false),
  ]
  const given = [...defaultMounts(options.shmSize ?? DEFAULT_SHM_BYTES, privileged), ...files].filter(
    ({ destination }) => !taken.has(destination),
  )
  // A mount below another one must come after it.
  return [...given, ...own.sort((left, right) => depth(left.destination) - depth(right.destination))]
}

function bind(source: string, destination: string, readOnly: boolean): SpecMount {
  return { destination, type: 'bind', source, options: ['rbind', 'rprivate', readOnly ? 'ro' : 'rw'] }
}

function depth(path: string): number {
  return path.split('/').filter((part) => part !== '').length
}
