/**
 * How two drivers talk during a migration: calls as JSON lines over one connection, and one connection per file. The ticket's
 * secret opens it. Over a UNIX socket, or TCP with or without TLS.
 */
import { createWriteStream } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { type ErrorCode, VMKitError } from '@vmkit/core'
import { abortReason, DRIVER } from '../errors.js'
import { documentReader, encodeDocument } from '../lines/codec.js'
import { type Credentials, readCredentials } from './tls.js'

export type Address = { path: string } | { host: string; port: number }

export interface Greeting {
  secret: string
  /** Present: the rest of the connection is this file. */
  file?: { name: string; size: number }
}

export interface Handlers {
  call(method: string, args: Record<string, unknown>): Promise<unknown>
  /** Where a file goes. @throws for a name that it does not want */
  fileFor(name: string): string
}

interface Answer {
  return?: unknown
  error?: { code: ErrorCode; message: string }
}

const LONGEST_CALL = 2 ** 20
const FILE_NAME = /^[A-Za-z][A-Za-z0-9.-]{0,80}$/

export interface WireServer {
  address: Address
  /** Resolves when nothing that came over it is worked on any more. */
  close(): Promise<void>
}

export async function listen(at: Address, secret: string, tlsFolder: string | undefined, handlers: Handlers): Promise<WireServer> {
  const sockets = new Set<Socket>()
  const serving = new Set<Promise<void>>()
  const onConnection = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    const served = serve(socket, secret, handlers)
      .catch(() => void socket.destroy())
      .finally(() => serving.delete(served))
    serving.add(served)
  }
  const server: Server = tlsFolder
    ? createTlsServer({ ...(await readCredentials(tlsFolder, 'server')), requestCert: true, rejectUnauthorized: true }, onConnection)
    : createServer(onConnection)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(at, resolve)
  })
  const bound = server.address()
  return {
    address: typeof bound === 'object' && bound ? { host: 'host' in at ? at.host : bound.address, port: bound.port } : at,
    async close() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await Promise.all(serving)
    },
  }
}

async function serve(socket: Socket, secret: string, { call, fileFor }: Handlers): Promise<void> {
  const greeting = (await firstLine(socket)) as Greeting
  if (greeting.secret !== secret) throw new VMKitError('PERMISSION_DENIED', 'A stranger knocked', { driver: DRIVER })
  if (greeting.file) return answer(socket, () => takeFile(socket, greeting.file as NonNullable<Greeting['file']>, fileFor))
  const reader = documentReader({ longest: LONGEST_CALL })
  for await (const data of socket) {
    for (const document of reader.push(data as Uint8Array)) {
      const { method, args } = document as { method: string; args: Record<string, unknown> }
      await answer(socket, () => call(method, args))
    }
  }
}

async function answer(socket: Socket, task: () => Promise<unknown>): Promise<void> {
  const said: Answer = await task().then(
    (value) => ({ return: value ?? null }),
    (error: unknown) => {
      const { code, message } = VMKitError.from(error)
      return { error: { code, message } }
    },
  )
  socket.write(encodeDocument(said))
}

async function takeFile(socket: Socket, { name, size }: { name: string; size: number }, fileFor: Handlers['fileFor']): Promise<void> {
  if (!FILE_NAME.test(name))
    throw new VMKitError('INVALID_CONFIG', `${JSON.stringify(name)} is no name of a machine's file`, { driver: DRIVER })
  const target = createWriteStream(fileFor(name), { flags: 'wx', mode: 0o600 })
  let left = size
  // `for await` would end the connection, on which the answer goes back.
  const content = async function* () {
    while (left > 0) {
      const chunk = socket.read() as Buffer | null
      if (chunk) {
        left -= chunk.length
        yield chunk
      } else if (socket.readableEnded || socket.destroyed) {
        throw new VMKitError('BACKEND_ERROR', `${name} broke off`, { driver: DRIVER })
      } else await readable(socket)
    }
  }
  await pipeline(content, target)
  if (left < 0) throw new VMKitError('BACKEND_ERROR', `${name} is longer than was said`, { driver: DRIVER })
}

function readable(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ['readable', 'end', 'close', 'error']) socket.removeListener(event, done)
      resolve()
    }
    for (const event of ['readable', 'end', 'close', 'error']) socket.once(event, done)
  })
}

/** What comes after it stays in the socket. */
async function firstLine(socket: Socket): Promise<unknown> {
  let held = Buffer.alloc(0)
  for (;;) {
    const chunk = socket.read() as Buffer | null
    if (chunk) {
      held = Buffer.concat([held, chunk])
      const end = held.indexOf('\n')
      if (end >= 0) {
        socket.unshift(held.subarray(end + 1))
        return JSON.parse(held.toString('utf8', 0, end))
      }
      if (held.length > LONGEST_CALL) throw new VMKitError('BACKEND_ERROR', 'A greeting without an end', { driver: DRIVER })
    } else if (socket.readableEnded || socket.destroyed) {
      throw new VMKitError('BACKEND_UNAVAILABLE', 'The other side of the migration hung up', { driver: DRIVER })
    } else await readable(socket)
  }
}

export interface Wire {
  call<T>(method: string, args?: Record<string, unknown>): Promise<T>
  /** @returns its size */
  send(name: string, path: string, onBytes: (count: number) => void): Promise<number>
  close(): void
}

export interface Peer {
  address: Address
  secret: string
  /** The folder with this side's certificates, when the other side wants TLS. */
  tlsFolder?: string
}

export async function connectWire(peer: Peer, signal: AbortSignal): Promise<Wire> {
  const credentials = peer.tlsFolder ? await readCredentials(peer.tlsFolder, 'client') : undefined
  const socket = await dialPeer(peer, credentials, { secret: peer.secret }, signal)
  let queue: Promise<unknown> = Promise.resolve()
  return {
    call<T>(method: string, args: Record<string, unknown> = {}) {
      const result = queue.then(async () => {
        socket.write(encodeDocument({ method, args }))
        return take<T>(socket, signal)
      })
      queue = result.catch(() => {})
      return result
    },
    async send(name, path, onBytes) {
      let file: FileHandle | undefined
      try {
        file = await open(path, 'r')
        const { size } = await file.stat()
        const upload = await dialPeer(peer, credentials, { secret: peer.secret, file: { name, size } }, signal)
        try {
          const taken = take<null>(upload, signal)
          taken.catch(() => {})
          for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 2 ** 20 })) {
            const data = chunk as Buffer
            if (upload.destroyed) break
            if (!upload.write(data)) await Promise.race([drained(upload), taken])
            onBytes(data.length)
          }
          await taken
        } finally {
          upload.destroy()
        }
        return size
      } finally {
        await file?.close()
      }
    },
    close: () => void socket.destroy(),
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ['drain', 'close']) socket.removeListener(event, done)
      resolve()
    }
    for (const event of ['drain', 'close']) socket.once(event, done)
  })
}

async function take<T>(socket: Socket, signal: AbortSignal): Promise<T> {
  const abort = (): void => void socket.destroy()
  signal.addEventListener('abort', abort, { once: true })
  try {
    const { error, return: value } = (await firstLine(socket)) as Answer
    if (error) throw new VMKitError(error.code, `The target says: ${error.message}`, { driver: DRIVER })
    return value as T
  } catch (error) {
    throw signal.aborted ? abortReason(signal) : error
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

function dialPeer({ address }: Peer, credentials: Credentials | undefined, greeting: Greeting, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(abortReason(signal))
    const name = 'path' in address ? address.path : `${address.host}:${address.port}`
    const socket = credentials && 'host' in address ? connectTls({ ...address, ...credentials }) : createConnection(address)
    const abort = (): void => {
      socket.destroy()
      reject(abortReason(signal))
    }
    signal.addEventListener('abort', abort, { once: true })
    socket.once('error', (error) =>
      reject(
        new VMKitError('BACKEND_UNAVAILABLE', `The target of the migration does not answer at ${name}: ${error.message}`, {
          driver: DRIVER,
          cause: error,
        }),
      ),
    )
    socket.once(credentials ? 'secureConnect' : 'connect', () => {
      signal.removeEventListener('abort', abort)
      socket.on('error', () => {})
      socket.write(encodeDocument(greeting))
      resolve(socket)
    })
  })
}
