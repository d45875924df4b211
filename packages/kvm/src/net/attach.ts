/** The networks of one machine: which addresses it has from its creation on, and its taps while it runs. */
import { isIPv4 } from 'node:net'
import { invalidConfig, type MachineConfig, VMKitError } from '@vmkit/core/driver'
import { DRIVER, unsupportedField } from '../errors.js'
import type { Host } from '../host.js'
import type { Machine } from '../state/store.js'
import { type Attachment, hostAddress, isUnicastMac, machineAddresses, macOf, rangeOf, tapName } from './address.js'
import { connect, hasLink, routedBy } from './links.js'
import { addMember, getNetwork, members, removeMember, withNetworks } from './networks.js'

/** Slots of the smallest machine type bound it. */
const MOST = 8
/** How long the kernel may take to take them away. */
const GONE_MS = 5000
const LOOK_MS = 5
const OWN_NAMES = ['localhost', 'ip6-localhost']

/** What can be refused before anything is made. @throws VMKitError naming the field */
export function checkNetworks(host: Host, { name: machineName, networks }: MachineConfig): void {
  if (networks.length > MOST) throw invalid('config.networks', `at most ${MOST} networks`, networks.length)
  if (networks.length > 0 && OWN_NAMES.includes(machineName))
    throw invalid('config.name', 'a name that means no machine its own', machineName)
  for (const [index, { name, aliases, mac }] of networks.entries()) {
    const field = `config.networks.${index}`
    if (name === 'host' || name === 'none')
      throw unsupportedField(field, `a virtual machine has no network mode ${name}; driverOptions.kvm.network has 'none'`)
    if (networks.findIndex((other) => other.name === name) !== index) throw invalid(`${field}.name`, 'each network once', name)
    const odd = aliases.findIndex((alias) => OWN_NAMES.includes(alias))
    if (odd >= 0) throw invalid(`${field}.aliases.${odd}`, 'a name that means no machine its own', aliases[odd])
    if (mac !== undefined && !isUnicastMac(mac)) throw invalid(`${field}.mac`, 'the address of one machine, not of a group', mac)
  }
  plan(host, networks)
}

function invalid(field: string, expected: string, value: unknown): VMKitError {
  return invalidConfig(field, expected, value, { driver: DRIVER, operation: 'create' })
}

/** @throws VMKitError `NOT_FOUND`, `INVALID_CONFIG`, `CONFLICT`, `RESOURCE_EXHAUSTED` */
function plan(host: Host, networks: MachineConfig['networks']): Attachment[] {
  return networks.map(({ name, ip, mac: wantedMac }, index) => {
    const field = `config.networks.${index}`
    const { prefix } = getNetwork(host, name, field)
    const present = members(host, name)
    const free = (address: string): boolean => present.every((member) => member.address !== address)
    const all = machineAddresses(prefix)
    if (ip !== undefined && !(isIPv4(ip) && all.includes(ip))) throw invalid(`${field}.ip`, `${rangeOf(prefix)}, of this network`, ip)
    if (ip !== undefined && !free(ip)) throw taken(`${field}.ip`, ip, name)
    const hasMac = (mac: string): boolean => mac === macOf(hostAddress(prefix)) || present.some((member) => member.mac === mac)
    const mac = wantedMac?.toLowerCase()
    if (mac !== undefined && hasMac(mac)) throw taken(`${field}.mac`, mac, name)
    const address = ip ?? all.find((candidate) => free(candidate) && (mac !== undefined || !hasMac(macOf(candidate))))
    if (address === undefined)
      throw new VMKitError('RESOURCE_EXHAUSTED', `All addresses of the network ${JSON.stringify(name)} are taken`, {
        driver: DRIVER,
        field,
      })
    if (mac === undefined && hasMac(macOf(address))) throw taken(`${field}.ip`, macOf(address), name)
    return { network: name, address, mac: mac ?? macOf(address) }
  })
}

function taken(field: string, value: string, network: string): VMKitError {
  return new VMKitError('CONFLICT', `A machine of the network ${JSON.stringify(network)} has ${value}`, {
    driver: DRIVER,
    operation: 'create',
    field,
  })
}

/** For a machine that is being built: its addresses, which nobody else gets until `releaseAddresses`. */
export async function claimAddresses(host: Host, id: string, { networks }: MachineConfig, signal: AbortSignal): Promise<Attachment[]> {
  if (networks.length === 0) return []
  return withNetworks(host, signal, async () => {
    const planned = plan(host, networks)
    for (const { network, address, mac } of planned) addMember(host, network, { id, address, mac })
    return planned
  })
}

/** Harmless without any. */
export function releaseAddresses(host: Host, { id, config }: Pick<Machine, 'id' | 'config'>): void {
  for (const { name } of config.networks) removeMember(host, name, id)
}

/** What becomes of a failure to build it: its addresses are free again. */
export async function orRelease<T>(host: Host, machine: Pick<Machine, 'id' | 'config'>, task: () => Promise<T>): Promise<T> {
  try {
    return await task()
  } catch (error) {
    releaseAddresses(host, machine)
    throw error
  }
}

/** A clone gets addresses of its own, whatever its origin asked for. */
export function withoutAddresses(networks: MachineConfig['networks']): MachineConfig['networks'] {
  return networks.map(({ ip: _ip, mac: _mac, ...network }) => network)
}

/** vmkit writes what cloud-init is to set up. Whether it does is the image's affair: it may have nothing that sets up interfaces. */
export function isSetByCloudInit({ cloudInit, networks }: MachineConfig): boolean {
  return networks.length > 0 && cloudInit !== undefined && cloudInit.networkConfig === undefined
}

/** The interfaces of the host that carry its networks while it runs. */
export function tapsOf({ id, attachments = [] }: Pick<Machine, 'id' | 'attachments'>): string[] {
  return attachments.map((_, index) => tapName(id, index))
}

/** From here on the guest is in its networks. Its QEMU runs, and has made the taps. */
export async function connectTaps(host: Host, { id, attachments = [] }: Machine, signal: AbortSignal): Promise<void> {
  if (attachments.length === 0) return
  await withNetworks(host, signal, async () => {
    for (const [index, { network }] of attachments.entries()) {
      const { bridge, prefix } = getNetwork(host, network)
      const other = hasLink(bridge) ? undefined : routedBy(prefix, bridge)
      if (other !== undefined) {
        throw new VMKitError('CONFLICT', `The addresses of the network ${JSON.stringify(network)} now belong to ${other} of this host`, {
          driver: DRIVER,
          vmId: id,
        })
      }
      await connect({ bridge, prefix }, [tapName(id, index)], signal)
    }
  })
}

/** The first thread of a QEMU may be gone while others still hold its taps, for milliseconds. */
export async function untilTapsGone(machine: Pick<Machine, 'id' | 'attachments'>): Promise<void> {
  const deadline = performance.now() + GONE_MS
  for (const tap of tapsOf(machine)) {
    while (hasLink(tap) && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}
