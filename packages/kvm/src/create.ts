import { type CallContext, invalidConfig, type MachineConfig, type MachineRef } from '@vmkit/core/driver'
import { placeFirmware } from './boot/firmware.js'
import { prepareBoot } from './boot/prepare.js'
import { findControllers } from './cgroups/controllers.js'
import { controllersOf } from './cgroups/group.js'
import { resolveDevices } from './devices.js'
import { unsupportedField } from './errors.js'
import type { Host } from './host.js'
import { type KvmMachineOptions, machineOptions } from './machine-options.js'
import { missingOf } from './missing.js'
import { checkMounts } from './mounts.js'
import { checkNetworks, claimAddresses, orRelease } from './net/attach.js'
import { DEFAULT_MEMORY, hostLimitsOf } from './spec.js'
import { record } from './state/journal.js'
import type { MachineFolder } from './state/machine-folder.js'
import { newIdentity, newMac } from './state/store.js'

const LEAST_MEMORY = 16 * 2 ** 20

/** All checks come first; then the machine is built out of sight and appears as a whole. */
export async function create(host: Host, config: MachineConfig, ctx: CallContext): Promise<MachineRef> {
  const options = machineOptions(config)
  check(config, options)
  await checkMounts(host, config)
  checkNetworks(host, config)
  await host.qemu()
  host.store.cleanUp()
  const kept = { ...config, devices: await resolveDevices(config) }
  const identity = { ...newIdentity(), name: config.name, createdAt: Date.now(), config: kept }
  const build = async (folder: MachineFolder) => {
    const nics = { macs: [newMac()], attachments: await claimAddresses(host, identity.id, kept, ctx.signal) }
    const boot = await prepareBoot(host, kept, options, folder, ctx, nics)
    const firmware = options.uefi ? await placeFirmware(folder) : undefined
    ctx.signal.throwIfAborted()
    return { boot: { ...boot, ...(firmware ? { firmware } : {}) }, ...nics }
  }
  const machine = await orRelease(host, identity, () => host.store.add(identity, build))
  record(host.options.stateDir, machine, { type: 'created' })
  const missing = missingOf(machine)
  return { id: machine.id, ...(missing ? { missing } : {}) }
}

/** QEMU ends when it cannot make a thread: its pool for disks has 64 (util/thread-pool.c), beside those of vCPUs, migration and display. */
const LEAST_THREADS = 80
/** QEMU itself, without the guest's memory. */
const OWN_MEMORY = 64 * 2 ** 20

function checkHostLimits(config: MachineConfig, { limits = {} }: KvmMachineOptions, memory: number, cpus: number): void {
  const field = 'config.driverOptions.kvm.limits'
  if (limits.memory !== undefined && limits.memory < memory + OWN_MEMORY) {
    throw invalidConfig(`${field}.memory`, `at least the guest's ${memory} bytes and ${OWN_MEMORY} for QEMU`, limits.memory)
  }
  if (limits.pids !== undefined && limits.pids < LEAST_THREADS + Math.ceil(cpus)) {
    throw invalidConfig(
      `${field}.pids`,
      `at least ${LEAST_THREADS + Math.ceil(cpus)}, because QEMU ends when it cannot make a thread`,
      limits.pids,
    )
  }
  const wanted = controllersOf(hostLimitsOf(config))
  if (wanted.length === 0) return
  const { missing } = findControllers()
  const lacking = wanted.find((name) => missing[name] !== undefined)
  if (!lacking) return
  const isShare = lacking === 'cpu' && limits.cpus === undefined
  throw unsupportedField(
    isShare ? 'config.cpus' : `${field}.${lacking === 'cpu' ? 'cpus' : lacking}`,
    `${isShare ? `a share of ${cpus} CPUs` : 'a limit of the host'} needs a control group, and ${missing[lacking]}`,
  )
}

/** What can be refused before anything is made. */
export function check(config: MachineConfig, options: KvmMachineOptions): void {
  const { network = { kind: 'user' }, machine, uefi } = options
  const { memory = DEFAULT_MEMORY, cpus = 1 } = config
  if (memory < LEAST_MEMORY) throw invalidConfig('config.memory', `at least ${LEAST_MEMORY} bytes, for a virtual machine`, memory)
  checkHostLimits(config, options, memory, cpus)
  if (config.ports.length > 0 && network.kind !== 'user') {
    throw unsupportedField('config.ports', `ports are published by the user-mode network, and driverOptions.kvm.network is ${network.kind}`)
  }
  if (options.template && (options.hugepages || network.kind === 'vhost-user')) {
    throw unsupportedField(
      'config.driverOptions.kvm.template',
      'memory that others map privately is neither in huge pages nor shared with a switch',
    )
  }
  if (machine === 'microvm' && uefi) throw unsupportedField('config.driverOptions.kvm.uefi', 'a microvm has no UEFI')
}
