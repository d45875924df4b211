/**
 * QMP, QEMU's control protocol. One connection; commands are answered in order and told apart by id.
 * Source: https://www.qemu.org/docs/master/interop/qmp-spec.html
 */
import type { Duplex } from 'node:stream'
import { channel, limitOf, VMKitError } from '@vmkit/core/driver'
import { documentReader, encodeDocument } from '../lines/codec.js'
import { dial } from './dial.js'
import { abortReason, qemuGone, qmpError } from './errors.js'

export interface QmpEvent {
  event: string
  data: Record<string, unknown>
  /** When it happened, by QEMU's clock: epoch milliseconds. */
  at: number
}

export interface Qmp {
  readonly version: { major: number; minor: number; micro: number }
  /**
   * @throws VMKitError QEMU's refusal by the table of `errors.ts`; `BACKEND_UNAVAILABLE` when QEMU ends meanwhile; the signal's
   * reason. An aborted command may still be carried out.
   */
  execute<T = unknown>(command: string, args?: Record<string, unknown>, options?: { signal?: AbortSignal }): Promise<T>
  /** Events from this call on; any number of readers. Rejects when QEMU ends, ends when this side closes. */
  events(): AsyncIterable<QmpEvent>
  /** Resolves when the connection is over, whoever ended it. */
  readonly closed: Promise<void>
  isOver(): boolean
  close(): Promise<void>
}

export interface QmpOptions {
  signal?: AbortSignal
  /** How long to wait for another client to leave, and for a QEMU that its host lets wait. Default 15,000. */
  connectTimeoutMs?: number
}

interface Pending {
  command: string
  resolve(value: unknown): void
  reject(error: unknown): void
}

// A reader of events that never reads must not fill the memory.
const MOST_EVENTS_HELD = 10_000
const CONNECT_TIMEOUT_MS = 15_000

/** Over a UNIX socket, or over a connection that is there already, such as an inherited socket pair. */
export async function connectQmp(target: string | Duplex, options: QmpOptions = {}): Promise<Qmp> {
  const timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS
  using limit = limitOf(options.signal, timeoutMs)
  const { signal } = limit
  const name = typeof target === 'string' ? target : 'an inherited socket'
  try {
    const socket = typeof target === 'string' ? await dial(target, signal) : target
    return await negotiate(socket, name, signal)
  } catch (error) {
    if (options.signal?.aborted) throw abortReason(options.signal)
    if (!limit.isOver()) throw error
    throw new VMKitError('CONFLICT', `QEMU at ${name} has served somebody else for ${timeoutMs} ms`, {
      driver: 'kvm',
      hint: 'A QMP socket serves one client at a time; close the other one',
      retryable: true,
      cause: error,
    })
  }
}

async function negotiate(socket: Duplex, name: string, signal: AbortSignal): Promise<Qmp> {
  const reader = documentReader()
  const pending = new Map<number, Pending>()
  const readers = new Set<(event: QmpEvent | undefined, error?: VMKitError) => void>()
  let over: VMKitError | undefined
  let isClosing = false
  let lastId = 0
  let greet: (greeting: Greeting) => void = () => {}
  let refuse: (error: unknown) => void = () => {}
  const greeting = new Promise<Greeting>((resolve, reject) => {
    greet = resolve
    refuse = reject
  })
  greeting.catch(() => {})
  let markClosed = (): void => {}
  const closed = new Promise<void>((resolve) => {
    markClosed = resolve
  })

  function end(cause?: unknown): void {
    if (over) return
    over = isClosing
      ? new VMKitError('ABORTED', 'The connection to QEMU was closed', { driver: 'kvm' })
      : cause instanceof VMKitError
        ? cause
        : qemuGone(name, cause)
    socket.destroy()
    refuse(over)
    for (const { reject } of pending.values()) reject(over)
    pending.clear()
    for (const tell of readers) tell(undefined, isClosing ? undefined : over)
    readers.clear()
    markClosed()
  }

  function take(document: Message): void {
    if (document.QMP) greet(document.QMP)
    else if (document.event !== undefined) for (const tell of readers) tell(eventOf(document))
    else {
      const waiting = pending.get(document.id ?? -1)
      if (!waiting) return // its caller has given up
      pending.delete(document.id ?? -1)
      if (document.error) waiting.reject(qmpError(waiting.command, document.error.class, document.error.desc))
      else waiting.resolve(document.return)
    }
  }

  socket.on('data', (data: Uint8Array) => {
    try {
      for (const document of reader.push(data)) take(document as Message)
    } catch (error) {
      end(error)
    }
  })
  socket.on('error', end)
  socket.on('close', () => end())
  socket.on('end', () => end())

  const qmp = {
    closed,
    isOver: () => over !== undefined,
    execute<T>(command: string, args?: Record<string, unknown>, { signal: given }: { signal?: AbortSignal } = {}): Promise<T> {
      return new Promise<T>((resolve, reject) => {
        if (given?.aborted) return reject(abortReason(given))
        if (over) return reject(over)
        lastId += 1
        const id = lastId
        const abort = (): void => {
          pending.delete(id)
          reject(abortReason(given as AbortSignal))
        }
        const settle =
          <V>(finish: (value: V) => void) =>
          (value: V) => {
            given?.removeEventListener('abort', abort)
            finish(value)
          }
        given?.addEventListener('abort', abort, { once: true })
        pending.set(id, { command, resolve: settle((value) => resolve(value as T)), reject: settle(reject) })
        socket.write(encodeDocument({ execute: command, arguments: args, id }))
      })
    },
    events: () => (over ? endedEvents(isClosing ? undefined : over) : subscribe(readers)),
    async close() {
      isClosing = true
      end()
      await closed
    },
  }

  const onAbort = (): void => end(abortReason(signal))
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    signal.throwIfAborted()
    // At once: QEMU reads it when it has greeted. It greets before it has made its devices, and answers only when it runs.
    const ready = qmp.execute('qmp_capabilities')
    ready.catch(() => {})
    const { version } = await greeting
    await ready
    return { ...qmp, version: version.qemu }
  } catch (error) {
    end(error)
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

interface Greeting {
  version: { qemu: { major: number; minor: number; micro: number } }
}

interface Message {
  QMP?: Greeting
  event?: string
  data?: Record<string, unknown>
  timestamp?: { seconds: number; microseconds: number }
  id?: number
  return?: unknown
  error?: { class: string; desc: string }
}

function eventOf({ event = '', data = {}, timestamp }: Message): QmpEvent {
  const at = timestamp && timestamp.seconds >= 0 ? timestamp.seconds * 1000 + Math.floor(timestamp.microseconds / 1000) : Date.now()
  return { event, data, at }
}

function subscribe(readers: Set<(event: QmpEvent | undefined, error?: VMKitError) => void>): AsyncIterable<QmpEvent> {
  let held = 0
  const queue = channel<QmpEvent>({ capacity: Number.POSITIVE_INFINITY, onClose: () => readers.delete(tell) })
  function tell(event: QmpEvent | undefined, error?: VMKitError): void {
    held += 1
    if (event && held <= MOST_EVENTS_HELD) {
      void queue.write(event)
    } else {
      readers.delete(tell)
      queue.end(event ? new VMKitError('RESOURCE_EXHAUSTED', `${MOST_EVENTS_HELD} events of QEMU were not read`, { driver: 'kvm' }) : error)
    }
  }
  readers.add(tell)
  return {
    [Symbol.asyncIterator]() {
      const source = queue[Symbol.asyncIterator]()
      return {
        async next() {
          const result = await source.next()
          if (!result.done) held -= 1
          return result
        },
        return: () => source.return?.() ?? Promise.resolve({ done: true, value: undefined }),
      }
    },
  }
}

function endedEvents(error: VMKitError | undefined): AsyncIterable<QmpEvent> {
  const queue = channel<QmpEvent>()
  queue.end(error)
  return queue
}
