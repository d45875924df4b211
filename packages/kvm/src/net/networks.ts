/**
 * Named networks: `networks/<name>/network.json` says which bridge and which /24, `networks/<name>/members/<id>` who has which address.
 * A bridge is there from the start, so that its route keeps others from its addresses, and is made again after a reboot.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type DriverNetworks, invalidConfig, type NetworkInfo, VMKitError } from '@vmkit/core/driver'
import { errno, readJson, withLock, writeJson } from '@vmkit/core/state-folder'
import { DRIVER, systemError } from '../errors.js'
import type { Host } from '../host.js'
import { type Attachment, prefixOf } from './address.js'
import { type Bridge, connect, hasLink, removeBridge, routedBy } from './links.js'

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/
/** Other drivers mean modes of the host's by these. */
const MODES = ['host', 'none']

export interface Network extends Bridge {
  labels: Record<string, string>
}

export type Member = Pick<Attachment, 'address' | 'mac'> & { id: string }

const parentOf = ({ options }: Host): string => join(options.stateDir, 'networks')
const folderOf = (host: Host, name: string): string => join(parentOf(host), name)
const membersOf = (host: Host, name: string): string => join(folderOf(host, name), 'members')

/** Whatever decides about addresses, or makes and removes bridges, does it one after the other, in all programs. */
export function withNetworks<T>(host: Host, signal: AbortSignal, task: () => Promise<T>): Promise<T> {
  const folder = join(host.options.stateDir, 'networks.lock')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  return withLock({ id: 'networks', folder }, 'network', signal, task)
}

function findNetwork(host: Host, name: string): Network | undefined {
  return NAME.test(name) ? readJson<Network>(join(folderOf(host, name), 'network.json')) : undefined
}

/** @throws VMKitError `NOT_FOUND` */
export function getNetwork(host: Host, name: string, field?: string): Network {
  const found = findNetwork(host, name)
  if (found) return found
  throw new VMKitError('NOT_FOUND', `There is no network ${JSON.stringify(name)}`, {
    driver: DRIVER,
    ...(field === undefined ? {} : { field }),
    hint: 'Make it first, by networks.create(); driverOptions.kvm.network joins a bridge of the host',
  })
}

/** Who has an address. What a program that was killed left of a machine that never came to be counts for nothing. */
export function members(host: Host, name: string): Member[] {
  return namesIn(membersOf(host, name)).flatMap((id) => {
    const member = host.store.holds(id) ? readJson<Omit<Member, 'id'>>(join(membersOf(host, name), id)) : undefined
    return member ? [{ ...member, id }] : []
  })
}

/** Within `withNetworks`. */
export function addMember(host: Host, name: string, { id, ...member }: Member): void {
  for (const other of namesIn(membersOf(host, name))) if (!host.store.holds(other)) removeMember(host, name, other)
  writeJson(join(membersOf(host, name), id), member)
}

/** Harmless when it is none. */
export function removeMember(host: Host, name: string, id: string): void {
  rmSync(join(membersOf(host, name), id), { force: true })
}

export function kvmNetworks(host: Host): DriverNetworks {
  return {
    create: async (name, labels, { signal }) => {
      checkName(name)
      return withNetworks(host, signal, async () => {
        if (findNetwork(host, name))
          throw new VMKitError('ALREADY_EXISTS', `There is a network ${JSON.stringify(name)} already`, { driver: DRIVER })
        const made = await makeNetwork(host, name, labels, signal)
        return infoOf(name, made)
      })
    },
    list: async () =>
      namesIn(parentOf(host)).flatMap((name) => {
        const network = findNetwork(host, name)
        return network ? [infoOf(name, network)] : []
      }),
    remove: async (name, { signal }) => {
      checkName(name)
      await withNetworks(host, signal, async () => {
        const { bridge } = getNetwork(host, name)
        const [user] = members(host, name)
        if (user) throw inUse(host, name, user.id)
        // First what others see of it: a network without a bridge is made whole by its next user, a bridge without one by nobody.
        await removeBridge(bridge, signal)
        discard(host, name)
      })
    },
  }
}

function checkName(name: string): void {
  if (!NAME.test(name)) throw invalidConfig('name', 'letters, digits, `_`, `.`, `-`, not starting with a sign', name, { driver: DRIVER })
  if (MODES.includes(name)) throw invalidConfig('name', 'another name: this one means a network of the host', name, { driver: DRIVER })
}

function infoOf(name: string, { bridge, labels }: Network): NetworkInfo {
  return { name, id: bridge, labels }
}

function inUse(host: Host, name: string, id: string): VMKitError {
  const machine = host.store.list().find((candidate) => candidate.id === id)
  const who = machine ? `the machine ${JSON.stringify(machine.name)}` : 'a machine that is being made'
  return new VMKitError('CONFLICT', `The network ${JSON.stringify(name)} is used by ${who}`, { driver: DRIVER, vmId: id })
}

/** It appears as a whole. */
function store(host: Host, name: string, network: Network): void {
  const parent = parentOf(host)
  const pending = join(host.options.stateDir, 'pending', `network-${name}-${process.pid}`)
  mkdirSync(parent, { recursive: true, mode: 0o700 })
  try {
    mkdirSync(join(pending, 'members'), { recursive: true, mode: 0o700 })
    writeJson(join(pending, 'network.json'), network)
    renameSync(pending, folderOf(host, name))
  } finally {
    rmSync(pending, { recursive: true, force: true })
  }
}

function discard(host: Host, name: string): void {
  const away = join(host.options.stateDir, 'trash', `network-${name}-${process.pid}`)
  mkdirSync(join(away, '..'), { recursive: true, mode: 0o700 })
  renameSync(folderOf(host, name), away)
  rmSync(away, { recursive: true, force: true })
}

/**
 * With a /24 that nobody has: no network of this folder, and no route of the host. Another app may want the same at this moment.
 * Written down before its bridge is made, so that a program that is killed leaves no bridge that nobody knows.
 */
async function makeNetwork(host: Host, name: string, labels: Record<string, string>, signal: AbortSignal): Promise<Network> {
  const { subnet } = host.options
  const taken = new Set(namesIn(parentOf(host)).map((other) => findNetwork(host, other)?.prefix))
  // From anywhere, so that two apps seldom want the same: after a reboot no route tells them of each other.
  const start = randomInt(254)
  for (let step = 0; step < 254; step += 1) {
    const prefix = prefixOf(subnet, ((start + step) % 254) + 1)
    const network: Network = { bridge: `vmkitb${randomBytes(5).toString('hex').slice(0, 9)}`, prefix, labels }
    const { bridge } = network
    if (taken.has(prefix) || routedBy(prefix, bridge) !== undefined || hasLink(bridge)) continue
    store(host, name, network)
    let isOurs = false
    try {
      await connect(network, [], signal)
      // Both of two that were as fast see each other, and look further.
      isOurs = routedBy(prefix, bridge) === undefined
      if (isOurs) return network
    } finally {
      if (!isOurs) {
        await removeBridge(bridge, new AbortController().signal).catch(() => {})
        discard(host, name)
      }
    }
  }
  throw new VMKitError('RESOURCE_EXHAUSTED', `All networks of ${subnet} are taken, or the host has routes there`, {
    driver: DRIVER,
    hint: 'The option `subnet` of the driver names another range',
  })
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') return []
    throw systemError(error)
  }
}
