import type { Server } from 'node:net'
import type { Duplex } from 'node:stream'
import { type MachineConfig, VMKitError } from '@vmkit/core/driver'

/**
 * Real listening sockets on this host for published TCP ports; UDP ports are only noted.
 * @throws VMKitError `CONFLICT` naming the port that is taken; none stays open
 */
export async function openPorts(ports: MachineConfig['ports'], onConnection: (guest: number, socket: Duplex) => void): Promise<Server[]> {
  const servers: Server[] = []
  if (ports.length === 0) return servers
  // A third of what this driver would cost, and few machines of a test publish a port.
  const { createServer } = await import('node:net')
  try {
    for (const [index, { guest, host, hostIp }] of ports.entries()) {
      const server = createServer((socket) => {
        socket.on('error', () => socket.destroy())
        onConnection(guest, socket)
      })
      servers.push(server)
      await listen(server, host, hostIp, index)
    }
    return servers
  } catch (error) {
    closePorts(servers)
    throw error
  }
}

export function closePorts(servers: Server[]): void {
  for (const server of servers.splice(0)) server.close()
}

function listen(server: Server, port: number, host: string, index: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') return reject(error)
      reject(new VMKitError('CONFLICT', `Port ${port} of ${host} is taken`, { field: `config.ports.${index}.host`, cause: error }))
    })
    // The mock's machines end with the app: their sockets must not keep it alive.
    server.listen(port, host, () => resolve()).unref()
  })
}
