/**
 * Ports of this host, as machines claim them. A plugin redirects packets without asking anybody, so a port is taken when a
 * program listens on it, or when a machine has its claim: a file that is made exclusively.
 */
import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { type MachineConfig, type PublishedPort, VMKitError } from '@vmkit/core/driver'
import type { Host, Machine } from '../host.js'
import { privateFolder } from '../state-dir.js'

type WantedPort = MachineConfig['ports'][number]

const TRIES = 20

/**
 * Where any port is taken from: nobody holds it between two packets, so it is none that the kernel would give to whoever asks for any, nor
 * a node port of Kubernetes (from 30000), which nobody holds either.
 */
const ANY = { first: 20_000, last: 29_999 }

/** Claims every port, or none. @throws VMKitError `CONFLICT` naming the port */
export async function claimPorts(
  host: Host,
  { id, uid }: Pick<Machine, 'id' | 'uid'>,
  wanted: readonly WantedPort[],
  isStale: (uid: string) => Promise<boolean>,
): Promise<PublishedPort[]> {
  const claimed: PublishedPort[] = []
  try {
    for (const [index, port] of wanted.entries()) claimed.push(await claimPort(host, { id, uid }, port, index, isStale))
    return claimed
  } catch (error) {
    releasePorts(host, uid, claimed)
    throw error
  }
}

export function releasePorts(host: Host, uid: string, ports: readonly PublishedPort[]): void {
  for (const port of ports) if (holderOf(claimPath(host, port)) === uid) rmSync(claimPath(host, port), { force: true })
}

async function claimPort(
  host: Host,
  owner: Pick<Machine, 'id' | 'uid'>,
  wanted: WantedPort,
  index: number,
  isStale: (uid: string) => Promise<boolean>,
): Promise<PublishedPort> {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const free = await freePort(wanted)
    const port: PublishedPort = { guest: wanted.guest, host: free ?? wanted.host, hostIp: wanted.hostIp, protocol: wanted.protocol }
    if (free !== undefined && (await claim(host, port, owner.uid, isStale))) return port
    if (wanted.host !== 0) break
  }
  throw new VMKitError('CONFLICT', `The port ${wanted.host} of ${wanted.hostIp} (${wanted.protocol}) is taken`, {
    driver: host.driver,
    vmId: owner.id,
    field: `config.ports.${index}.host`,
  })
}

/** Whether the file is ours now. One of a machine that does not run any more gives way. */
async function claim(host: Host, port: PublishedPort, uid: string, isStale: (uid: string) => Promise<boolean>): Promise<boolean> {
  const path = claimPath(host, port)
  privateFolder(join(host.options.stateDir, 'ports'))
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      const fd = openSync(path, 'wx', 0o600)
      writeSync(fd, uid)
      closeSync(fd)
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const holder = holderOf(path)
    if (holder === undefined || !(await isStale(holder))) return false
    rmSync(path, { force: true })
  }
  return false
}

function claimPath(host: Host, { protocol, host: port }: PublishedPort): string {
  // By number alone: 0.0.0.0 takes it of every address, and to tell them apart is worth little.
  return join(host.options.stateDir, 'ports', `${protocol}-${port}`)
}

function holderOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}

/** The port, or any; `undefined` when somebody listens there. */
function freePort(wanted: WantedPort): Promise<number | undefined> {
  const one = { ...wanted, host: wanted.host === 0 ? anyPort() : wanted.host }
  return one.protocol === 'udp' ? freeUdp(one) : freeTcp(one)
}

/** 0, for the kernel to choose, where its own range leaves no room (ip(7), ip_local_port_range: first and last). */
function anyPort(): number {
  const [first = '0'] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'latin1').split(/\s/)
  return Number(first) > ANY.last ? randomInt(ANY.first, ANY.last + 1) : 0
}

function freeTcp({ host, hostIp }: WantedPort): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(unusable(hostIp, error)),
    )
    server.listen(host, hostIp, () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}

function freeUdp({ host, hostIp }: WantedPort): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(hostIp.includes(':') ? 'udp6' : 'udp4')
    socket.once('error', (error: NodeJS.ErrnoException) => {
      socket.close()
      if (error.code === 'EADDRINUSE') resolve(undefined)
      else reject(unusable(hostIp, error))
    })
    socket.bind(host, hostIp, () => {
      const { port } = socket.address()
      socket.close(() => resolve(port))
    })
  })
}

function unusable(hostIp: string, error: NodeJS.ErrnoException): VMKitError {
  const code = error.code === 'EACCES' ? 'PERMISSION_DENIED' : 'INVALID_CONFIG'
  return new VMKitError(code, `A port of ${hostIp} cannot be used: ${error.message}`, { field: 'config.ports', cause: error })
}
