/** A conversation with the vmkit guest over one of its ports: any number of sessions at a time, each with its own credit. */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../errors.js'
import { dial } from '../qmp/dial.js'
import { encodeFrame, FROM_GUEST, type Frame, frameReader, LARGEST_PAYLOAD, TO_GUEST } from './frames.js'

/** What one session, or one request, makes of what the guest sends for it. */
export interface Listener {
  frame(frame: Frame): void
  /** The guest or its QEMU is gone. Nothing comes after this. */
  lost(error: VMKitError): void
}

export interface Port {
  /** A number that the guest does not know yet. */
  open(listener: Listener): number
  send(type: number, session: number, payload?: Uint8Array, stream?: number): void
  /** Resolves when the kernel has taken what was sent so far. */
  drained(): Promise<void>
  forget(session: number): void
  readonly isIdle: boolean
  readonly isLost: boolean
  /** Lets a waiting process end, or keeps it from that. */
  hold(on: boolean): void
  close(): void
}

/** A guest that was busy with the frame of a client that died hears the second greeting. */
const FIRST_GREETING_MS = 1500
const NEXT_GREETING_MS = 5000

/** Connects and greets. A guest that still boots answers when it is up: `signal` decides how long that may take. */
export async function openPort(path: string, signal: AbortSignal): Promise<Port> {
  const socket = await dial(path, signal)
  const listeners = new Map<number, Listener>()
  let lost: VMKitError | undefined
  let last = 0

  const fail = (cause?: unknown): void => {
    lost ??= new VMKitError('GUEST_ERROR', 'The guest ended or was reset, or its QEMU ended', { driver: DRIVER, cause })
    for (const listener of [...listeners.values()]) listener.lost(lost)
    listeners.clear()
  }
  const read = frameReader((frame) => listeners.get(frame.session)?.frame(frame))
  socket.on('data', read)
  socket.on('error', fail)
  socket.on('close', () => fail())

  const port: Port = {
    open(listener) {
      last = (last % 0xfffffffe) + 1
      listeners.set(last, listener)
      if (lost) listener.lost(lost)
      return last
    },
    send(type, session, payload, stream) {
      if (!lost) socket.write(encodeFrame(type, session, payload, stream))
    },
    drained: () => (lost || !socket.writableNeedDrain ? Promise.resolve() : drained(socket)),
    forget: (session) => void listeners.delete(session),
    get isIdle() {
      return listeners.size === 0
    },
    get isLost() {
      return lost !== undefined
    },
    hold: (on) => void (on ? socket.ref() : socket.unref()),
    close() {
      socket.destroy()
    },
  }
  try {
    await greet(port, listeners, signal)
    return port
  } catch (error) {
    socket.destroy()
    throw error
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done)
      socket.off('close', done)
      resolve()
    }
    socket.once('drain', done)
    socket.once('close', done)
  })
}

/** The guest ends what an earlier client left when it is greeted, so only the answer to the last greeting counts. */
function greet(port: Port, listeners: Map<number, Listener>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let nonce = randomBytes(8)
    let timer: NodeJS.Timeout | undefined
    const finish = (settle: () => void): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      listeners.delete(0)
      settle()
    }
    const onAbort = (): void => finish(() => reject(signal.reason))
    const again = (): void => {
      nonce = randomBytes(8)
      // Ends whatever frame the guest may still be waiting for.
      port.send(0, 0, new Uint8Array(LARGEST_PAYLOAD))
      port.send(TO_GUEST.hello, 0, nonce)
      timer = setTimeout(again, NEXT_GREETING_MS)
    }
    listeners.set(0, {
      frame({ type, payload }) {
        if (type === FROM_GUEST.welcome && payload.equals(nonce)) finish(resolve)
      },
      lost: (error) => finish(() => reject(error)),
    })
    signal.addEventListener('abort', onAbort, { once: true })
    port.send(TO_GUEST.hello, 0, nonce)
    timer = setTimeout(again, FIRST_GREETING_MS)
  })
}
