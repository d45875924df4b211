/** A host process listens on the host's own ports: there is nothing to map, only to check. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { type MachineConfig, VMKitError } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { DRIVER, unsupportedField } from './errors.js'

type Port = MachineConfig['ports'][number]

/** @throws VMKitError `UNSUPPORTED` for a mapping to another port */
export function refusePortMappings(ports: readonly Port[]): void {
  for (const [index, { guest, host }] of ports.entries()) {
    if (host !== 0 && host !== guest)
      throw unsupportedField(
        `config.ports.${index}.host`,
        `a process has the ports of its host, so that port ${guest} is ${guest} here too`,
      )
  }
}

/** @throws VMKitError `CONFLICT` naming the first port that somebody else has */
export async function checkPorts(ports: readonly Port[]): Promise<void> {
  for (const [index, port] of ports.entries()) {
    try {
      await (port.protocol === 'udp' ? tryUdp(port) : tryTcp(port))
    } catch (error) {
      if (errno(error) !== 'EADDRINUSE') continue // such as a privileged port: the process itself will say so
      throw new VMKitError('CONFLICT', `Port ${port.guest}/${port.protocol} of ${port.hostIp} is taken`, {
        driver: DRIVER,
        operation: 'start',
        field: `config.ports.${index}.guest`,
        cause: error,
      })
    }
  }
}

async function tryTcp({ guest, hostIp }: Port): Promise<void> {
  const server = createServer().listen({ port: guest, host: hostIp, exclusive: true })
  await once(server, 'listening')
  server.close()
  await once(server, 'close')
}

async function tryUdp({ guest, hostIp }: Port): Promise<void> {
  const socket = createSocket(hostIp.includes(':') ? 'udp6' : 'udp4')
  socket.bind({ port: guest, address: hostIp, exclusive: true })
  await once(socket, 'listening')
  socket.close()
  await once(socket, 'close')
}
