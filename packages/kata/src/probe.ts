import { existsSync, statSync } from 'node:fs'
import { type CallContext, type HostProbe, type Missing, unavailable } from '@vmkit/core/driver'
import { type KataConfig, readKataConfig } from './kata-config.js'
import { NEVER } from './never.js'
import type { OwnOptions } from './options.js'
import { BLOCK_SNAPSHOTTERS, whyNoFolders } from './refusals.js'
import { findConfig, findShim, type ShimVersion, shimVersion } from './shim.js'

/** What this host has of Kata. */
export interface KataHost {
  shim: string | undefined
  triedShims: string[]
  version: ShimVersion
  config: KataConfig | undefined
  triedConfigs: string[]
}

/** Looks at files only, and asks the shim for its version. */
export async function lookAtHost({ runtime, configPath }: OwnOptions, signal: AbortSignal): Promise<KataHost> {
  const { found: shim, tried: triedShims } = findShim(runtime)
  const version = shim === undefined ? { kind: 'foreign' as const } : await shimVersion(shim, signal)
  const { found, tried: triedConfigs } = findConfig(shim, version.kind, configPath)
  return { shim, triedShims, version, config: found === undefined ? undefined : readKataConfig(found), triedConfigs }
}

/** Hypervisors that run nothing without KVM; QEMU can emulate. */
const NEED_KVM = new Set(['firecracker', 'clh', 'cloud-hypervisor', 'dragonball', 'stratovirt'])
/** Those whose channel to the agent is vsock of the host's kernel; the others have it over a UNIX socket. */
const NEED_VSOCK = new Set(['qemu', 'stratovirt', 'acrn'])
const NO_PROGRAM = new Set(['dragonball', 'remote'])

/** By stat alone: what is opened by a look could be in the way of a guest. */
const isDevice = (path: string): boolean => {
  try {
    return statSync(path).isCharacterDevice()
  } catch {
    return false
  }
}

/** containerd's probe with what Kata changes. */
export function refine(probe: HostProbe, host: KataHost, { allowStandIn, runtime }: OwnOptions, device = isDevice): HostProbe {
  const { shim, version, config } = host
  const isKata = version.kind !== 'foreign'
  const isStandIn = shim !== undefined && !isKata && allowStandIn
  const reason = isStandIn ? undefined : whyNot(host, probe, device)
  const kataVersion = version.version ?? 'of unknown version'
  const languages = { go: 'Go shim', rust: 'runtime-rs', foreign: '' }
  return {
    ...probe,
    available: probe.available && reason === undefined,
    ...(reason === undefined ? {} : { reason }),
    engine: isStandIn
      ? `STAND-IN for Kata (a shim that is not Kata's, ${kataVersion}; no VM), ${probe.engine}`
      : `Kata ${kataVersion} (${languages[version.kind]}, ${config?.hypervisor ?? 'no configuration'}), ${probe.engine}`,
    missing: { ...probe.missing, ...missingOf(config), ...missingLoggers(version), ...NEVER },
    ...(shim === undefined ? { tried: host.triedShims.map((target) => ({ target, result: 'not there, or no program' })) } : {}),
    details: {
      ...probe.details,
      runtime,
      shim: shim ?? 'none',
      'shim version': isKata ? `${kataVersion} (${languages[version.kind]})` : `${kataVersion}, not Kata's`,
      ...(isStandIn ? { 'stand-in': "this shim is not Kata's: machines are containers, without a VM around them" } : {}),
      configuration: config?.path ?? `none of ${host.triedConfigs.join(', ')}`,
      hypervisor: config ? [config.hypervisor, ...(config.hypervisorPath ? [config.hypervisorPath] : [])].join(', ') : 'unknown',
      'guest size': config
        ? `${config.defaultVcpus ?? '?'} vCPUs, ${config.defaultMemory ?? '?'} MiB, and the limits of the machine on top`
        : 'unknown',
      'allowed settings': config?.enableAnnotations.join(', ') || 'none',
      'shared file system': config?.sharedFs ?? 'default',
      'confidential guests': String(config?.confidentialGuest ?? false),
      'guest seccomp': config ? (config.disableGuestSeccomp ? 'off' : 'on') : 'unknown',
      '/dev/kvm': device('/dev/kvm') ? 'there' : 'missing',
      '/dev/vhost-vsock': device('/dev/vhost-vsock') ? 'there' : 'missing',
      pause: 'of the container: its processes are frozen, and the VM around it goes on',
    },
  }
}

function whyNot(
  { shim, triedShims, version, config, triedConfigs }: KataHost,
  probe: HostProbe,
  device: (path: string) => boolean,
): string | undefined {
  if (!probe.available) return probe.reason
  if (shim === undefined) return `Kata's shim is not there: ${triedShims.join(', ')}`
  if (version.kind === 'foreign') return `The shim ${shim} is not Kata's: its machines would be containers, without a VM around them`
  if (!config) return `Kata's configuration file is not there: ${triedConfigs.join(', ')}`
  const { hypervisor, hypervisorPath, path } = config
  if (!NO_PROGRAM.has(hypervisor)) {
    if (hypervisorPath === undefined) return `${path} names no program for the hypervisor ${hypervisor}`
    if (!existsSync(hypervisorPath)) return `The hypervisor ${hypervisorPath}, which ${path} names, is not there`
  }
  if (NEED_KVM.has(hypervisor) && !device('/dev/kvm')) return `${hypervisor} needs /dev/kvm, which is not there`
  if (NEED_VSOCK.has(hypervisor) && !device('/dev/vhost-vsock')) {
    return `${hypervisor} reaches its guest by /dev/vhost-vsock, which is not there: load the kernel module vhost_vsock`
  }
  const snapshotter = probe.details?.snapshotter
  if (hypervisor === 'firecracker' && snapshotter !== undefined && !BLOCK_SNAPSHOTTERS.has(snapshotter)) {
    return `Firecracker shares no files with its guest, and needs a snapshotter of block devices such as devmapper; here it is ${snapshotter}`
  }
  return undefined
}

/** What the hypervisor or its configuration takes away. */
function missingOf(config: KataConfig | undefined): Missing {
  if (!config) return {}
  const { hypervisor, confidentialGuest, staticResources } = config
  const noFiles = whyNoFolders(config)
  const noGrowth =
    hypervisor === 'firecracker'
      ? 'Firecracker cannot add CPUs or memory to a running guest'
      : confidentialGuest
        ? 'a confidential guest keeps the size with which it was measured'
        : staticResources
          ? `${config.path} has static_sandbox_resource_mgmt: the guest keeps the size with which it started`
          : undefined
  return { ...(noFiles ? { mounts: noFiles, volumes: noFiles } : {}), ...(noGrowth ? { resize: noGrowth } : {}) }
}

/** The restart monitor gives each run a logger, as does the option that writes the times of lines. */
function missingLoggers({ kind }: ShimVersion): Missing {
  if (kind !== 'rust') return {}
  const reason =
    'runtime-rs runs no loggers before its change of July 2026 (kata-containers #13351), and it does not tell whether it has that'
  return { restart: reason, 'logs.since': reason }
}

/** A look that fails is a host without Kata, and says why. */
export async function refineProbe(probe: HostProbe, options: OwnOptions, { signal }: CallContext): Promise<HostProbe> {
  try {
    return refine(probe, await lookAtHost(options, signal), options)
  } catch (error) {
    signal.throwIfAborted()
    return { ...probe, ...unavailable(error, { ...probe.missing, ...NEVER }) }
  }
}
