import { type CallContext, invalidConfig, type MachineConfig, type MachineRef } from '@vmkit/core/driver'
import { placeFirmware } from './boot/firmware.js'
import { prepareBoot } from './boot/prepare.js'
import { resolveDevices } from './devices.js'
import { unsupportedField } from './errors.js'
import type { Host } from './host.js'
import { type KvmMachineOptions, machineOptions } from './machine-options.js'
import { missingOf } from './missing.js'
import { checkMounts } from './mounts.js'
import { DEFAULT_MEMORY } from './spec.js'
import { record } from './state/journal.js'
import { newIdentity, newMac } from './state/store.js'

const LEAST_MEMORY = 16 * 2 ** 20

/** All checks come first; then the machine is built out of sight and appears as a whole. */
export async function create(host: Host, config: MachineConfig, ctx: CallContext): Promise<MachineRef> {
  const options = machineOptions(config)
  check(config, options)
  checkMounts(config)
  await host.qemu()
  host.store.cleanUp()
  const kept = { ...config, devices: await resolveDevices(config) }
  const machine = await host.store.add({ ...newIdentity(), name: config.name, createdAt: Date.now(), config: kept }, async (folder) => {
    const boot = await prepareBoot(host, kept, options, folder, ctx)
    const firmware = options.uefi ? await placeFirmware(folder) : undefined
    ctx.signal.throwIfAborted()
    return { boot: { ...boot, ...(firmware ? { firmware } : {}) }, macs: [newMac()] }
  })
  record(host.options.stateDir, machine, { type: 'created' })
  const missing = missingOf(machine)
  return { id: machine.id, ...(missing ? { missing } : {}) }
}

/** What can be refused without looking at the host. */
export function check(config: MachineConfig, options: KvmMachineOptions): void {
  const { network = { kind: 'user' }, machine, uefi } = options
  const { memory = DEFAULT_MEMORY, cpus = 1 } = config
  if (memory < LEAST_MEMORY) throw invalidConfig('config.memory', `at least ${LEAST_MEMORY} bytes, for a virtual machine`, memory)
  if (!Number.isInteger(cpus)) throw unsupportedField('config.cpus', `a virtual machine has whole CPUs, got ${cpus}`)
  if (config.ports.length > 0 && network.kind !== 'user') {
    throw unsupportedField('config.ports', `ports are published by the user-mode network, and driverOptions.kvm.network is ${network.kind}`)
  }
  if (machine === 'microvm' && uefi) throw unsupportedField('config.driverOptions.kvm.uefi', 'a microvm has no UEFI')
}
