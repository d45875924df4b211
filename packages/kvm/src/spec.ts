/** A machine's record as the spec of its QEMU: pure, but for what the host's choice of accelerator needed before. */
import type { MachineConfig } from '@vmkit/core/driver'
import type { HostLimits } from './cgroups/group.js'
import { deviceSpec, hotplugPort } from './device-spec.js'
import { type KvmMachineOptions, machineOptions } from './machine-options.js'
import { mountsOf } from './mounts.js'
import { tapName } from './net/address.js'
import type { Accelerator, MachineSpec, NicSpec } from './qemu/machine-spec.js'
import { FILES } from './state/machine-folder.js'
import type { MachineRecord } from './state/store.js'

export const DEFAULT_MEMORY = 512 * 2 ** 20
const DEFAULT_HOTPLUG_PORTS = 2

export function specOf(record: MachineRecord, accel: Accelerator): MachineSpec {
  const { config, boot, uuid } = record
  const options = machineOptions(config)
  const type = options.machine ?? 'q35'
  const shares = mountsOf(config)
  const devices = config.devices.map((device, index) => deviceSpec(device, type === 'q35' ? hotplugPort(index) : undefined))
  return {
    uuid,
    machine: { type },
    accel,
    cpu: cpuOf(config, options, accel),
    memory: memoryOf(config, options, shares),
    ...(boot.kernel ? { kernel: boot.kernel } : {}),
    ...(boot.firmware ? { firmware: boot.firmware } : {}),
    disks: [...boot.disks, ...devices.flatMap(({ disk }) => disk ?? [])],
    nics: [...nicsOf(record, options), ...networkNics(record), ...devices.flatMap(({ nic }) => nic ?? [])],
    channels: boot.channels,
    shares,
    pci: devices.flatMap(({ pci }) => pci ?? []),
    console: { kind: 'socket', path: FILES.console, log: FILES.consoleLog },
    ...(options.screen ? { vnc: { path: FILES.vnc, password: typeof options.screen === 'object' && options.screen.password } } : {}),
    hotplugPorts: devices.length + (options.hotplugPorts ?? DEFAULT_HOTPLUG_PORTS),
    ...(boot.noReboot ? { noReboot: true } : {}),
    ...(options.template ? { balloon: false } : {}),
    extra: [...(options.extraArguments ?? [])],
  }
}

function cpuOf(config: MachineConfig, options: KvmMachineOptions, accel: Accelerator): MachineSpec['cpu'] {
  const count = vcpusOf(config)
  const { maxCpus, topology } = options
  return {
    model: options.cpu ?? (accel === 'kvm' ? 'host' : 'max'),
    count,
    ...(maxCpus === undefined ? {} : { maxCount: Math.max(maxCpus, count) }),
    ...topology,
  }
}

/** A share of a CPU needs a whole one. */
export function vcpusOf({ cpus = 1 }: MachineConfig): number {
  return Math.ceil(cpus)
}

/** What the host gives its QEMU: a share of a CPU is one of those limits. */
export function hostLimitsOf(config: MachineConfig): HostLimits {
  const { cpus = 1 } = config
  const limits = machineOptions(config).limits ?? {}
  return Number.isInteger(cpus) ? limits : { ...limits, cpus: Math.min(cpus, limits.cpus ?? cpus) }
}

function memoryOf(
  { memory = DEFAULT_MEMORY }: MachineConfig,
  { hugepages, network, template }: KvmMachineOptions,
  shares: MachineSpec['shares'],
): MachineSpec['memory'] {
  if (template) return { bytes: memory, backend: { kind: 'file', path: FILES.memory, share: true } }
  const isShared = network?.kind === 'vhost-user' || shares.some(({ socket }) => socket !== undefined)
  if (!hugepages && !isShared) return { bytes: memory }
  return { bytes: memory, backend: { kind: 'memfd', share: isShared, ...(hugepages ? { hugepages } : {}) } }
}

/** The first NIC carries the published ports. */
function nicsOf({ config, macs }: MachineRecord, { network = { kind: 'user' } }: KvmMachineOptions): NicSpec[] {
  const [mac] = macs
  if (network.kind === 'none' || mac === undefined) return []
  return [{ id: 'net0', mac, backend: network.kind === 'user' ? { ...network, forwards: config.ports } : network }]
}

/** QEMU makes the taps, and the kernel takes them away when it ends, however it does. */
function networkNics({ id, attachments = [] }: MachineRecord): NicSpec[] {
  return attachments.map(({ mac }, index) => ({ id: `net${index + 1}`, mac, backend: { kind: 'tap', ifname: tapName(id, index) } }))
}
