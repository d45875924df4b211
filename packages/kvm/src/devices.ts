/** Disks, NICs and PCI functions of the host that a machine is given, at create or while it runs. `config.devices` holds them, each with its id. */
import { randomBytes } from 'node:crypto'
import { existsSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import { type CallContext, type DeviceConfig, invalidConfig, type MachineConfig, VMKitError } from '@vmkit/core/driver'
import { deviceSpec, hotplugPort, qemuId } from './device-spec.js'
import { inspectDisk } from './disk/image-file.js'
import { DRIVER, invalidState } from './errors.js'
import type { Host } from './host.js'
import { machineOptions } from './machine-options.js'
import { diskDevice, diskNode, netdev, nicDevice, pciDevice } from './qemu/arguments.js'
import type { MachineType } from './qemu/machine-spec.js'
import type { Qmp } from './qmp/client.js'
import { command } from './qmp/command.js'
import { deviceDeleted } from './resize.js'
import { withLock } from './state/lock.js'
import { statusOf } from './state/run.js'
import { type Machine, newMac } from './state/store.js'

const PCI_ADDRESS = /^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/i
/** A guest that still boots misses the request; it is made again. */
const ASK_AGAIN_MS = 1000

/** Checked, with an id, and for disks with a format. @throws VMKitError naming the field */
async function resolveDevice(device: DeviceConfig, field: string): Promise<DeviceConfig> {
  const id = device.id ?? `device-${randomBytes(4).toString('hex')}`
  switch (device.type) {
    case 'disk': {
      const { format } = await inspectDisk(device.path, `${field}.path`)
      return { ...device, id, format: device.format ?? format }
    }
    case 'nic':
      return { ...device, id, mac: device.mac ?? newMac() }
    case 'pci':
      checkPci(device.address, field)
      return { ...device, id }
    default:
      throw new VMKitError(
        'UNSUPPORTED',
        `A virtual machine takes disks, NICs and whole PCI functions of the host, no device of type ${device.type}`,
        {
          driver: DRIVER,
          capability: 'devices',
          field: `${field}.type`,
          hint: 'Give a GPU as { type: "pci", address }, with the address that lspci shows',
        },
      )
  }
}

/** vfio-pci needs a function that is there, an IOMMU that fences it in, and a driver that gives it away. */
function checkPci(address: string, field: string, sysfs = '/sys/bus/pci/devices'): void {
  if (!PCI_ADDRESS.test(address))
    throw invalidConfig(`${field}.address`, "a PCI address such as '0000:3b:00.0'", address, { driver: DRIVER })
  const folder = `${sysfs}/${address.toLowerCase()}`
  const refuse = (reason: string, hint?: string): never => {
    throw new VMKitError('UNSUPPORTED', `The PCI function ${address} cannot be given away: ${reason}`, {
      driver: DRIVER,
      capability: 'devices',
      field: `${field}.address`,
      ...(hint === undefined ? {} : { hint }),
    })
  }
  if (!existsSync(folder)) refuse('this host has none of that address')
  if (!existsSync(`${folder}/iommu_group`))
    refuse('this host has no IOMMU, or it is off', 'Boot the host with intel_iommu=on or amd_iommu=on')
  const driver = existsSync(`${folder}/driver`) ? basename(readlinkSync(`${folder}/driver`)) : 'none'
  if (driver !== 'vfio-pci') refuse(`its driver is ${driver}, and must be vfio-pci`, 'Bind it to vfio-pci, for instance with driverctl')
}

export async function resolveDevices(config: MachineConfig, field = 'config.devices'): Promise<DeviceConfig[]> {
  const devices: DeviceConfig[] = []
  for (const [index, device] of config.devices.entries()) {
    const resolved = await resolveDevice(device, `${field}.${index}`)
    if (devices.some(({ id }) => id === resolved.id))
      throw invalidConfig(`${field}.${index}.id`, 'an id of its own', resolved.id, { driver: DRIVER })
    devices.push(resolved)
  }
  return devices
}

/** Also of a stopped machine, which has it from its next start on. @returns its id */
export async function attachDevice(host: Host, machine: Machine, device: DeviceConfig, ctx: CallContext): Promise<string> {
  const resolved = await resolveDevice(device, 'device')
  const id = resolved.id as string
  return withLock(machine, 'attachDevice', ctx.signal, async (signal) => {
    const current = host.store.get(machine.id)
    const { devices } = current.config
    if (devices.some((other) => other.id === id)) {
      throw new VMKitError('ALREADY_EXISTS', `The machine has a device ${JSON.stringify(id)}`, {
        driver: DRIVER,
        vmId: machine.id,
        field: 'device.id',
      })
    }
    const { state } = statusOf(current.folder)
    if (state === 'running' || state === 'paused') {
      await command(current, signal, (qmp) => plug(qmp, current, resolved))
    } else if (state === 'starting' || state === 'stopping') {
      throw invalidState(machine.id, 'attach a device to', state)
    }
    host.store.update(current, { config: { ...current.config, devices: [...devices, resolved] } })
    return id
  })
}

export async function detachDevice(host: Host, machine: Machine, id: string, ctx: CallContext): Promise<void> {
  await withLock(machine, 'detachDevice', ctx.signal, async (signal) => {
    const current = host.store.get(machine.id)
    const { devices } = current.config
    const device = devices.find((other) => other.id === id)
    if (!device) throw new VMKitError('NOT_FOUND', `The machine has no device ${JSON.stringify(id)}`, { driver: DRIVER, vmId: machine.id })
    const { state } = statusOf(current.folder)
    if (state === 'running' || state === 'paused') await command(current, signal, (qmp) => unplug(qmp, device, signal))
    host.store.update(current, { config: { ...current.config, devices: devices.filter((other) => other !== device) } })
  })
}

/** Where a device can be plugged in now. @throws VMKitError `RESOURCE_EXHAUSTED` */
async function freePort(qmp: Qmp, machine: Machine, type: MachineType): Promise<string | undefined> {
  if (type === 'microvm') {
    throw new VMKitError('UNSUPPORTED', 'A microvm takes no devices while it runs', {
      driver: DRIVER,
      capability: 'devices',
      vmId: machine.id,
    })
  }
  if (type === 'pc') return undefined
  const inside = await qmp.execute<{ name: string }[]>('qom-list', { path: '/machine/peripheral' })
  const names = inside.map(({ name }) => name)
  const used = new Set<string>()
  for (const name of names.filter((candidate) => candidate.endsWith('-device'))) {
    const bus = await qmp.execute<string>('qom-get', { path: `/machine/peripheral/${name}`, property: 'parent_bus' })
    used.add(basename(bus))
  }
  const ports = names.filter((name) => name.startsWith(hotplugPort(0).slice(0, -1)))
  const free = ports.sort().find((port) => !used.has(port))
  if (free !== undefined) return free
  throw new VMKitError('RESOURCE_EXHAUSTED', `All ${ports.length} ports for devices are taken`, {
    driver: DRIVER,
    vmId: machine.id,
    hint: 'driverOptions.kvm.hotplugPorts gives a machine more of them',
  })
}

/** Back end, then device; without the device the back end goes again. */
async function plug(qmp: Qmp, machine: Machine, device: DeviceConfig): Promise<void> {
  const { machine: type = 'q35' } = machineOptions(machine.config)
  const { disk, nic, pci } = deviceSpec(device, await freePort(qmp, machine, type))
  if (disk) {
    await qmp.execute('blockdev-add', diskNode(disk, type))
    await qmp.execute('device_add', diskDevice(disk, type)).catch(undo(() => qmp.execute('blockdev-del', { 'node-name': disk.id })))
  } else if (nic) {
    await qmp.execute('netdev_add', netdev(nic))
    await qmp.execute('device_add', nicDevice(nic, type)).catch(undo(() => qmp.execute('netdev_del', { id: nic.id })))
  } else if (pci) {
    await qmp.execute('device_add', pciDevice(pci))
  }
}

function undo(back: () => Promise<unknown>): (error: unknown) => Promise<never> {
  return async (error) => {
    await back().catch(() => {})
    throw error
  }
}

/** The guest lets go of it first. */
async function unplug(qmp: Qmp, device: DeviceConfig, signal: AbortSignal): Promise<void> {
  const id = qemuId(device.id ?? '')
  const deleted = deviceDeleted(qmp, `${id}-device`)
  const ask = (): Promise<unknown> =>
    qmp.execute('device_del', { id: `${id}-device` }).catch((error: unknown) => {
      if (!/in the process of unplug|not found/.test(VMKitError.from(error).message)) throw error
    })
  await ask()
  const again = setInterval(() => void ask().catch(() => {}), ASK_AGAIN_MS)
  try {
    await deleted(signal)
  } finally {
    clearInterval(again)
  }
  if (device.type === 'disk') await qmp.execute('blockdev-del', { 'node-name': id })
  if (device.type === 'nic') await qmp.execute('netdev_del', { id })
}
