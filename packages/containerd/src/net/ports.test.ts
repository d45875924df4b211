import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Host } from '../host.js'
import { claimPorts, releasePorts } from './ports.js'

let stateDir: string
let host: Host
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'vmkit-ports-'))
  host = { driver: 'containerd', options: { stateDir } } as unknown as Host
})
afterEach(() => rmSync(stateDir, { recursive: true }))

const claim = (uid: string, ...ports: number[]) => {
  const wanted = ports.map((port) => ({ guest: 80, host: port, hostIp: '127.0.0.1', protocol: 'tcp' }) as const)
  return claimPorts(host, { id: `m:${uid}`, uid }, wanted, async () => false)
}

it('any port is one that the kernel gives to nobody who asks for any, and each is claimed once', async () => {
  const [first = 0, last = 0] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'latin1').trim().split(/\s+/).map(Number)
  const ports = await claim('one', 0, 0, 0)
  expect(new Set(ports.map(({ host: port }) => port)).size).toBe(3)
  // Where the kernel's own range leaves no room, it is asked.
  if (first >= 30_000) expect(ports.filter(({ host: port }) => port >= first && port <= last)).toEqual([])
  expect(readdirSync(join(stateDir, 'ports')).sort()).toEqual(ports.map(({ host: port }) => `tcp-${port}`).sort())
  releasePorts(host, 'one', ports)
  expect(readdirSync(join(stateDir, 'ports'))).toEqual([])
})

it('a port that somebody listens on, or another machine has, is refused by name, and none of the others is kept', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const refusal = { code: 'CONFLICT', field: 'config.ports.1.host' }
  await expect(claim('one', 0, port)).rejects.toMatchObject(refusal)
  await new Promise((resolve) => server.close(resolve))
  expect(readdirSync(join(stateDir, 'ports'))).toEqual([])
  const [{ host: taken } = { host: 0 }] = await claim('one', 0)
  await expect(claim('two', 0, taken)).rejects.toMatchObject(refusal)
  expect(readdirSync(join(stateDir, 'ports'))).toEqual([`tcp-${taken}`])
})
