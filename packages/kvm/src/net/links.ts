/** Bridges and taps of this host, by `ip` (ip-link(8)); QEMU makes its taps itself, and the kernel takes them away with it. */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { VMKitError } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { execa } from 'execa'
import { abortReason, DRIVER } from '../errors.js'
import { findProgram } from '../qemu/binary.js'
import { hostAddress, macOf, overlaps, PREFIX_BITS, parseRoutes } from './address.js'

/** Where it is not in the PATH of everybody. */
const PATHS = ':/usr/sbin:/sbin'
const TUN = '/dev/net/tun'
/** linux/capability.h */
const CAP_NET_ADMIN = 12n
/** What a command of the host may take. */
const ANSWER_MS = 10_000

export interface Bridge {
  /** Name of the interface. */
  bridge: string
  /** The first three numbers of its /24. */
  prefix: string
}

/** Why this host has no named networks; `undefined` where it has. Makes nothing. */
export function whyNoNetworks(): string | undefined {
  if (program('ip') === undefined) return 'the program `ip` is not installed (Debian: iproute2)'
  if (!mayChangeNetworks())
    return 'this program has no right to change networks of the host: it needs root, or CAP_NET_ADMIN that its children inherit'
  try {
    closeSync(openSync(TUN, 'r+'))
    return undefined
  } catch (error) {
    return errno(error) === 'ENOENT' ? `there is no ${TUN}` : `${TUN} cannot be opened: ${errno(error)}`
  }
}

/** Also for QEMU and `ip`: children of anybody but root have what is ambient (capabilities(7)). */
function mayChangeNetworks(): boolean {
  const set = process.geteuid?.() === 0 ? 'CapEff' : 'CapAmb'
  const bits = new RegExp(`^${set}:\\s*([0-9a-f]+)$`, 'm').exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0'
  return ((BigInt(`0x${bits}`) >> CAP_NET_ADMIN) & 1n) === 1n
}

function program(name: string): string | undefined {
  return findProgram(name, `${process.env.PATH ?? ''}${PATHS}`)
}

export function hasLink(name: string): boolean {
  return existsSync(`/sys/class/net/${name}`)
}

/** The device of the host that has a route into the /24; of this bridge none counts. */
export function routedBy(prefix: string, own: string): string | undefined {
  return parseRoutes(readFileSync('/proc/net/route', 'latin1')).find((route) => route.device !== own && overlaps(prefix, route))?.device
}

/** Makes the bridge where it is missing, as after a reboot, and makes the taps ports of it. */
export async function connect({ bridge, prefix }: Bridge, taps: readonly string[], signal: AbortSignal): Promise<void> {
  // Neither the host nor anybody else is to have addresses there that nobody gave.
  const quiet = existsSync('/proc/sys/net/ipv6') ? ' addrgenmode none' : ''
  const host = hostAddress(prefix)
  await ip(
    [
      ...(hasLink(bridge) ? [] : [`link add name ${bridge} address ${macOf(host)} type bridge`]),
      ...(quiet === '' ? [] : [`link set dev ${bridge}${quiet}`]),
      `addr replace ${host}/${PREFIX_BITS} brd + dev ${bridge}`,
      `link set dev ${bridge} up`,
      ...taps.flatMap((tap) => [...(quiet === '' ? [] : [`link set dev ${tap}${quiet}`]), `link set dev ${tap} master ${bridge} up`]),
    ],
    signal,
  )
  await letThrough(bridge, signal)
}

/** Harmless when there is none. */
export async function removeBridge(bridge: string, signal: AbortSignal): Promise<void> {
  if (hasLink(bridge)) await ip([`link delete dev ${bridge}`], signal)
  for (let left = true; left; ) left = await iptables(['-D', ...ruleOf(bridge)], signal)
}

/**
 * Where br_netfilter is on, as Docker wants it, frames between two ports of a bridge pass the host's FORWARD chain, which Docker
 * closes. One rule lets those of this bridge through.
 */
async function letThrough(bridge: string, signal: AbortSignal): Promise<void> {
  if (!isFiltered()) return
  if (!(await iptables(['-C', ...ruleOf(bridge)], signal))) await iptables(['-I', ...ruleOf(bridge)], signal)
}

const ruleOf = (bridge: string): string[] => ['FORWARD', '-i', bridge, '-o', bridge, '-j', 'ACCEPT']

function isFiltered(): boolean {
  try {
    return readFileSync('/proc/sys/net/bridge/bridge-nf-call-iptables', 'latin1').trim() === '1'
  } catch {
    return false
  }
}

/** Whether it succeeded; a host without it filters in another way, or not at all. */
async function iptables(args: string[], signal: AbortSignal): Promise<boolean> {
  const path = program('iptables')
  if (path === undefined) return false
  // -w: others may hold the lock of its tables.
  const { failed, isCanceled } = await execa(path, ['-w', '5', ...args], {
    reject: false,
    stdin: 'ignore',
    timeout: ANSWER_MS,
    cancelSignal: signal,
  })
  if (isCanceled) throw abortReason(signal)
  return !failed
}

async function ip(lines: readonly string[], signal: AbortSignal): Promise<void> {
  const path = program('ip')
  if (path === undefined) throw failure('the program `ip` is not installed')
  const result = await execa(path, ['-batch', '-'], {
    reject: false,
    input: `${lines.join('\n')}\n`,
    timeout: ANSWER_MS,
    cancelSignal: signal,
  })
  if (result.isCanceled) throw abortReason(signal)
  if (!result.failed) return
  const [words = result.shortMessage ?? 'it failed'] = (result.stderr ?? '').split('\n')
  const isRefused = /not permitted/i.test(words)
  throw failure(words.replace(/^(RTNETLINK answers|Error): /, ''), isRefused ? 'PERMISSION_DENIED' : 'BACKEND_ERROR')
}

function failure(words: string, code: 'PERMISSION_DENIED' | 'BACKEND_ERROR' = 'BACKEND_ERROR'): VMKitError {
  return new VMKitError(code, `A network of this host cannot be changed: ${words}`, { driver: DRIVER })
}
