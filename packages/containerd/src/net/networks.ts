/** Networks by name: those that vmkit makes, and those that somebody configured for CNI on this host. */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type DriverNetworks, invalidConfig, type MachineConfig, type NetworkInfo, VMKitError } from '@vmkit/core/driver'
import { type Host, listMachines } from '../host.js'
import { privateFolder } from '../state-dir.js'
import { runTool } from '../tool.js'
import { badConf, bridgeConf, type NetworkConf, readConfDir } from './cni-conf.js'
import { hasMembers } from './members.js'

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/
/** The network that ports are published through when a config names none. */
const DEFAULT_NETWORK = 'vmkit-default'

interface StoredNetwork {
  labels: Record<string, string>
  conf: NetworkConf
  /** Third number of its /24. */
  subnet: number
}

const parentOf = (host: Host): string => join(host.options.stateDir, 'networks')
const fileOf = (host: Host, name: string): string => join(parentOf(host), name, 'network.json')

export type NetworkMode = 'none' | 'host' | 'cni'

/** Which kind of network a config asks for; ports alone bring the default one. @throws VMKitError naming the field */
export function checkNetworks(host: Host, config: MachineConfig): NetworkMode {
  const { networks, ports } = config
  const mode = networks.findIndex(({ name }) => name === 'host' || name === 'none')
  if (mode < 0) {
    for (const [index, network] of networks.entries()) {
      if (!NAME.test(network.name)) throw invalidConfig(`config.networks.${index}.name`, 'letters, digits, `_`, `.`, `-`', network.name)
      if (networks.findIndex(({ name }) => name === network.name) !== index)
        throw invalidConfig(`config.networks.${index}.name`, 'each network once', network.name)
      requireConf(host, network.name, `config.networks.${index}`)
    }
    return networks.length > 0 || ports.length > 0 ? 'cni' : 'none'
  }
  const { name, aliases, ip, mac } = networks[mode] as MachineConfig['networks'][number]
  const unsupported = (field: string, reason: string): VMKitError =>
    new VMKitError('UNSUPPORTED', `The ${host.driver} driver cannot honour \`${field}\`: ${reason}`, {
      driver: host.driver,
      operation: 'create',
      field,
    })
  if (networks.length > 1) throw unsupported(`config.networks.${mode}`, `the network ${name} cannot be joined together with others`)
  if (ports.length > 0) throw unsupported('config.ports', `the network ${name} has no published ports`)
  if (aliases.length > 0 || ip !== undefined || mac !== undefined)
    throw unsupported(`config.networks.${mode}`, `the network ${name} takes no aliases, ip and mac`)
  return name as NetworkMode
}

/** The plugins of a network. @throws VMKitError `NOT_FOUND`, `INVALID_CONFIG` for a configuration that is none */
export function requireConf(host: Host, name: string, field: string): NetworkConf {
  const own = stored(host, name)
  if (own) return own.conf
  const found = readConfDir(host.options.cni.confDir).get(name)
  if (found?.conf) return found.conf
  if (found) throw badConf(found.path, found.problem ?? 'it cannot be read')
  throw new VMKitError('NOT_FOUND', `There is no network ${name}, neither of vmkit nor in ${host.options.cni.confDir}`, {
    driver: host.driver,
    field,
  })
}

/** The default network, made when it is first needed. */
export function defaultConf(host: Host): NetworkConf {
  const present = stored(host, DEFAULT_NETWORK)
  if (present) return present.conf
  make(host, DEFAULT_NETWORK, {})
  return (stored(host, DEFAULT_NETWORK) as StoredNetwork).conf
}

export function containerdNetworks(host: Host): DriverNetworks {
  return {
    async create(name, labels) {
      checkName(name)
      if (!make(host, name, labels)) throw new VMKitError('ALREADY_EXISTS', `There is a network ${name} already`, { driver: host.driver })
      return infoOf(host, name) as NetworkInfo
    },
    async list() {
      return names(host).flatMap((name) => infoOf(host, name) ?? [])
    },
    async remove(name, ctx) {
      checkName(name)
      const network = stored(host, name)
      if (!network) throw new VMKitError('NOT_FOUND', `vmkit made no network ${name}`, { driver: host.driver })
      const user = (await listMachines(host, ctx)).find(({ record }) => record.config.networks.some((joined) => joined.name === name))
      if (user || hasMembers(host, network.conf.name))
        throw new VMKitError('CONFLICT', `The network ${name} is used by ${user?.name ?? 'a machine that publishes ports'}`, {
          driver: host.driver,
        })
      rmSync(join(parentOf(host), name), { recursive: true, force: true })
      await removeBridge(network.conf)
    },
  }
}

/** The plugins leave the bridge, and the notes of their addresses, when the last machine has gone. */
async function removeBridge({ name, plugins }: NetworkConf): Promise<void> {
  const bridge = plugins[0]?.bridge
  if (typeof bridge === 'string') await runTool('ip', ['link', 'delete', bridge]).catch(() => undefined)
  // host-local's folder of a network (containernetworking/plugins, ipam/host-local).
  rmSync(join('/var/lib/cni/networks', name), { recursive: true, force: true })
}

/** Whether it is new. It appears as a whole, by a rename, and its subnet is nobody else's. */
function make(host: Host, name: string, labels: Record<string, string>): boolean {
  const parent = privateFolder(parentOf(host))
  if (existsSync(join(parent, name))) return false
  const subnet = claimSubnet(host, name)
  const [first, second] = host.options.cni.subnet.split('.')
  const key = createHash('sha256').update(`${host.options.stateDir}\0${name}`).digest('hex').slice(0, 9)
  const conf = bridgeConf(`vmkit-${key}-${name}`.slice(0, 80), `vmk${key}`, `${first}.${second}.${subnet}.0/24`)
  const fresh = join(parent, `.new-${randomBytes(6).toString('hex')}`)
  mkdirSync(fresh, { mode: 0o700 })
  writeFileSync(join(fresh, 'network.json'), JSON.stringify({ labels, conf, subnet } satisfies StoredNetwork), { mode: 0o600 })
  try {
    renameSync(fresh, join(parent, name))
    return true
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true })
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false
    throw error
  }
}

/**
 * One that no network of vmkit has; starting at a place of the name's own, and of the state folder's, so that two makers seldom want the
 * same: a subnet is seen to be taken only when the first machine is in it.
 */
function claimSubnet(host: Host, name: string): number {
  const taken = new Set(names(host).map((other) => stored(host, other)?.subnet))
  const routed = routedPrefixes()
  const [first, second] = host.options.cni.subnet.split('.')
  const start = createHash('sha256').update(`${host.options.stateDir}\0${name}`).digest().readUInt16LE() % 254
  for (let step = 0; step < 254; step += 1) {
    const subnet = ((start + step) % 254) + 1
    if (!taken.has(subnet) && !routed.has(`${first}.${second}.${subnet}`)) return subnet
  }
  throw new VMKitError('RESOURCE_EXHAUSTED', `All networks of ${host.options.cni.subnet} are taken`, { driver: host.driver })
}

/** The first three numbers of every IPv4 network that this host has a route to (proc(5), /proc/net/route: little-endian hex). */
function routedPrefixes(): Set<string> {
  const rows = readFileSync('/proc/net/route', 'latin1').trim().split('\n').slice(1)
  return new Set(rows.map((row) => [...Buffer.from(row.split('\t')[1] ?? '', 'hex')].reverse().slice(0, 3).join('.')))
}

function names(host: Host): string[] {
  return existsSync(parentOf(host)) ? readdirSync(parentOf(host)).filter((name) => NAME.test(name)) : []
}

function stored(host: Host, name: string): StoredNetwork | undefined {
  try {
    return JSON.parse(readFileSync(fileOf(host, name), 'utf8')) as StoredNetwork
  } catch {
    return undefined
  }
}

function infoOf(host: Host, name: string): NetworkInfo | undefined {
  const network = stored(host, name)
  return network && { name, id: network.conf.name, labels: network.labels }
}

function checkName(name: string): void {
  if (!NAME.test(name)) throw invalidConfig('name', 'letters, digits, `_`, `.`, `-`, not starting with a sign', name)
  if (name === 'host' || name === 'none') throw invalidConfig('name', 'another name, since this one is the host’s', name)
}
