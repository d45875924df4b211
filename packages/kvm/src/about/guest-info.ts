/** What a guest tells of itself, whichever agent tells it. Pure. */
import type { Records } from '../boot/run-spec.js'

export interface GuestAddress {
  address: string
  /** Bits of the network. */
  prefix: number
  family: 'ipv4' | 'ipv6'
}

export interface GuestInterface {
  name: string
  /** `null` where it has none. */
  mac: string | null
  addresses: GuestAddress[]
}

/** What the agent does not tell is `null`. */
export interface GuestInfo {
  /** Who told it: PID 1 of the vmkit guest, or QEMU's guest agent. */
  agent: 'vmkit' | 'qemu-ga'
  hostname: string | null
  /** As in os-release(5), such as `debian`, `Debian GNU/Linux 12 (bookworm)`, `12`. */
  os: { id: string | null; name: string | null; version: string | null }
  /** Release of the kernel. */
  kernel: string | null
  /** Such as `x86_64`. */
  machine: string | null
  interfaces: GuestInterface[]
}

/** What PID 1 of the vmkit guest answers; `guest/README.md` has the keys. */
export function fromRecords(records: Records): GuestInfo {
  const last = (key: string): string | null => records.filter(([name]) => name === key).at(-1)?.[1] ?? null
  const all = (key: string): string[][] => records.filter(([name]) => name === key).map(([, value]) => value.split(','))
  const release = osRelease(last('os-release') ?? '')
  return {
    agent: 'vmkit',
    hostname: last('hostname'),
    os: { id: release.ID ?? null, name: release.PRETTY_NAME ?? release.NAME ?? null, version: release.VERSION_ID ?? null },
    kernel: last('kernel'),
    machine: last('machine'),
    interfaces: all('interface').map(([name = '', mac = '']) => ({
      name,
      mac: mac === '' ? null : mac,
      addresses: all('address')
        .filter(([owner]) => owner === name)
        .map(([, address = '', prefix]) => ({ address, prefix: Number(prefix), family: address.includes(':') ? 'ipv6' : 'ipv4' })),
    })),
  }
}

/** Lines of NAME=value, the value in quotes as a shell's (os-release(5)). */
function osRelease(text: string): Record<string, string> {
  const entries = [...text.matchAll(/^([A-Z_]+)=(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|(.*))$/gm)]
  return Object.fromEntries(
    entries.map(([, name, double, single, plain]) => [name, double?.replace(/\\(.)/g, '$1') ?? single ?? plain ?? '']),
  )
}

/** Answers of QEMU's guest agent (QEMU Guest Agent Protocol Reference); a command that it does not know is absent. */
export interface QgaAnswers {
  interfaces?: { name: string; 'hardware-address'?: string; 'ip-addresses'?: QgaAddress[] }[]
  os?: { id?: string; name?: string; 'pretty-name'?: string; 'version-id'?: string; 'kernel-release'?: string; machine?: string }
  hostname?: { 'host-name': string }
}

interface QgaAddress {
  'ip-address': string
  'ip-address-type': 'ipv4' | 'ipv6'
  prefix: number
}

export function fromQga({ interfaces = [], os = {}, hostname }: QgaAnswers): GuestInfo {
  return {
    agent: 'qemu-ga',
    hostname: hostname?.['host-name'] ?? null,
    os: { id: os.id ?? null, name: os['pretty-name'] ?? os.name ?? null, version: os['version-id'] ?? null },
    kernel: os['kernel-release'] ?? null,
    machine: os.machine ?? null,
    interfaces: interfaces.map((one) => ({
      name: one.name,
      mac: one['hardware-address'] ?? null,
      addresses: (one['ip-addresses'] ?? []).map((found) => ({
        address: found['ip-address'],
        prefix: found.prefix,
        family: found['ip-address-type'],
      })),
    })),
  }
}

/** Addresses by which another system may reach the guest: none of the loopback, none that hold on one link only. */
export function reachable({ interfaces }: GuestInfo): string[] {
  const addresses = interfaces.filter(({ name }) => name !== 'lo').flatMap((one) => one.addresses)
  return [...addresses]
    .sort((left, right) => left.family.localeCompare(right.family))
    .map(({ address }) => address)
    .filter((address) => !/^(127\.|169\.254\.|::1$|fe80:)/.test(address))
}
