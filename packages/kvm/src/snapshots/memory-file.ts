/** The memory and the devices of a machine in a file, as QEMU's migration stream. */
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { CallContext } from '@vmkit/core/driver'
import { systemError } from '../errors.js'
import { migrate } from '../migrate/outgoing.js'
import type { Qmp } from '../qmp/client.js'

/** In the machine's folder. */
export const SAVING_SOCKET = 'save.sock'

/**
 * The machine must not run meanwhile. QEMU 7.2 writes no file by itself, and a shell between the two is not wanted: it sends
 * the stream to a socket of this process.
 */
export async function saveMemory(
  qmp: Qmp,
  folder: string,
  file: string,
  /** The memory itself is in a file already, and does not come along. */
  isTemplate: boolean,
  ctx: CallContext,
): Promise<void> {
  const socketPath = join(folder, SAVING_SOCKET)
  const partial = `${file}.part`
  await rm(socketPath, { force: true })
  const { server, written } = await receive(socketPath, partial)
  written.catch(() => {})
  try {
    await migrate(qmp, { uri: `unix:${basename(socketPath)}`, phase: 'memory', capabilities: isTemplate ? ['x-ignore-shared'] : [] }, ctx)
    await written
    await rename(partial, file)
  } catch (error) {
    server.close()
    await written.catch(() => {})
    await rm(partial, { force: true })
    throw systemError(error)
  } finally {
    server.close()
    await rm(socketPath, { force: true })
  }
}

async function receive(socketPath: string, file: string): Promise<{ server: Server; written: Promise<void> }> {
  const server = createServer()
  const written = new Promise<void>((resolve, reject) => {
    let isConnected = false
    server.once('connection', (socket: Socket) => {
      isConnected = true
      server.close()
      pipeline(socket, createWriteStream(file, { mode: 0o600 })).then(resolve, reject)
    })
    // With a connection, the end of what it brings decides.
    server.once('close', () => !isConnected && reject(new Error('QEMU sent nothing')))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(socketPath, resolve)
  })
  return { server, written }
}
