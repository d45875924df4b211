/** One command in a guest, as the driver's contract has it. */
import { constants } from 'node:os'
import { type ByteSink, channel, type ExecExit, type ExecSession, invalidConfig, type OutputChunk, VMKitError } from '@vmkit/core/driver'
import type { Records } from '../boot/run-spec.js'
import { encodeRecords } from '../boot/run-spec.js'
import { DRIVER } from '../errors.js'
import { FROM_GUEST, type Frame, LARGEST_PAYLOAD, TO_GUEST } from './frames.js'
import type { Port } from './port.js'

/** Bytes of stdin that the guest takes before the command has read any; `INPUT_WINDOW` of sessions.c. */
const INPUT_WINDOW = 65536
const INPUT_CHUNK = 32768

/** Why a command could not be started, by the step that failed. `errno` is Linux's. */
export interface StartFailure {
  step: string
  errno: number
}

export interface SessionOptions {
  isTerminal?: boolean
  /** `attach`: the stdin of the main command in place of a command of its own. */
  kind?: 'start' | 'attach'
  failure(failure: StartFailure): VMKitError
}

/** Resolves when the command runs. Aborting until then ends it. */
export function startSession(port: Port, records: Records, options: SessionOptions, signal: AbortSignal): Promise<ExecSession> {
  return new Promise((resolve, reject) => {
    const payload = encodeRecords(records)
    if (payload.length > LARGEST_PAYLOAD) {
      reject(
        invalidConfig('command', `at most ${LARGEST_PAYLOAD} bytes with its environment`, payload.length, {
          driver: DRIVER,
          operation: 'exec',
        }),
      )
      return
    }
    if (signal.aborted) return reject(signal.reason)
    const { session, listener, started } = makeSession(port, options)
    const number = port.open(listener)
    session.number = number
    const onAbort = (): void => {
      void session.handle[Symbol.asyncDispose]()
      reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    started.then(() => resolve(session.handle), reject).finally(() => signal.removeEventListener('abort', onAbort))
    port.send(options.kind === 'attach' ? TO_GUEST.attach : TO_GUEST.start, number, payload)
  })
}

function makeSession(port: Port, { isTerminal = false, failure }: SessionOptions) {
  const output = channel<OutputChunk>({ capacity: 1, onClose: () => startDropping() })
  const start = deferred<void>()
  const end = deferred<ExecExit>()
  const state = { number: 0, handle: undefined as unknown as ExecSession }
  let hasReader = false
  let isDropping = false
  let isOver = false
  let credit = INPUT_WINDOW
  let closedInput: VMKitError | undefined
  let wakeWriter = (): void => {}
  start.promise.catch(() => {})
  end.promise.catch(() => {})

  const startDropping = (): void => {
    isDropping = true
    for (const give of owed.splice(0)) give()
  }
  /** What may still be sent is given back when it is read, or nobody will. */
  const owed: (() => void)[] = []

  function take({ stream, payload }: Frame): void {
    const data = Uint8Array.from(payload)
    let given = false
    const give = (): void => {
      if (given) return
      given = true
      const more = Buffer.alloc(4)
      more.writeUInt32LE(data.length)
      if (!isOver) port.send(TO_GUEST.credit, state.number, more, stream)
    }
    if (isDropping) {
      give()
      return
    }
    owed.push(give)
    void output.write({ source: isTerminal ? 'console' : stream === 1 ? 'stderr' : 'stdout', data }).then(() => {
      owed.splice(owed.indexOf(give), 1)
      give()
    })
  }

  function finish(exit: ExecExit | VMKitError): void {
    if (isOver) return
    isOver = true
    port.forget(state.number)
    closedInput ??= new VMKitError('INVALID_STATE', 'The command has ended', { driver: DRIVER, operation: 'exec' })
    wakeWriter()
    if (exit instanceof VMKitError) {
      start.reject(exit)
      end.reject(exit)
      output.end(exit)
    } else {
      end.resolve(exit)
      output.end()
    }
  }

  const listener = {
    frame(frame: Frame) {
      const { type, payload } = frame
      if (type === FROM_GUEST.started) start.resolve()
      else if (type === FROM_GUEST.output) take(frame)
      else if (type === FROM_GUEST.exit) finish(exitOf(payload))
      else if (type === FROM_GUEST.failed) finish(failure({ errno: payload.readInt32LE(0), step: payload.toString('latin1', 4) }))
      else if (type === FROM_GUEST.more) {
        credit += payload.readUInt32LE(0)
        wakeWriter()
      } else if (type === FROM_GUEST.closed) {
        closedInput ??= new VMKitError('INVALID_STATE', 'The command has closed its stdin', { driver: DRIVER, operation: 'exec' })
        wakeWriter()
      }
    },
    lost: finish,
  }

  async function write(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; ) {
      while (credit === 0 && !closedInput) await new Promise<void>((resolve) => (wakeWriter = resolve))
      if (closedInput) throw closedInput
      const length = Math.min(credit, INPUT_CHUNK, data.length - at)
      credit -= length
      port.send(TO_GUEST.input, state.number, data.subarray(at, at + length))
      at += length
      await port.drained()
    }
    // The command has room again only when it has read: until then the writer waits.
    while (credit === 0 && !closedInput) await new Promise<void>((resolve) => (wakeWriter = resolve))
  }

  let writing: Promise<void> = Promise.resolve()
  const inTurn = (task: () => Promise<void>): Promise<void> => {
    writing = writing.catch(() => {}).then(task)
    return writing
  }
  const stdin: ByteSink = {
    write: (data) => inTurn(() => (closedInput ? Promise.reject(closedInput) : write(typeof data === 'string' ? Buffer.from(data) : data))),
    end: () =>
      inTurn(async () => {
        if (!isOver) port.send(TO_GUEST.inputEnd, state.number)
      }),
  }

  state.handle = {
    output: {
      [Symbol.asyncIterator]() {
        hasReader = true
        return output[Symbol.asyncIterator]()
      },
    },
    stdin,
    async resize({ columns, rows }) {
      const size = Buffer.alloc(4)
      size.writeUInt16LE(columns, 0)
      size.writeUInt16LE(rows, 2)
      if (!isOver) port.send(TO_GUEST.resize, state.number, size)
    },
    async kill(signal = 'SIGKILL') {
      if (!isOver) port.send(TO_GUEST.kill, state.number, Uint8Array.of(signalNumber(signal)))
    },
    wait() {
      if (!hasReader) {
        startDropping()
        void output[Symbol.asyncIterator]().return?.()
      }
      return end.promise
    },
    async [Symbol.asyncDispose]() {
      if (isOver) return
      port.send(TO_GUEST.kill, state.number, Uint8Array.of(constants.signals.SIGKILL))
      startDropping()
      await end.promise.catch(() => {})
    },
  }
  return { session: state, listener, started: start.promise }
}

/** @throws VMKitError `INVALID_CONFIG` */
export function signalNumber(name: string): number {
  const number = (constants.signals as Record<string, number>)[name]
  if (number === undefined) throw invalidConfig('signal', 'the name of a signal, such as SIGTERM', name, { driver: DRIVER })
  return number
}

const NAMES = Object.entries(constants.signals)

/** Code and signal as two 32-bit numbers; a signal leaves no code. */
function exitOf(payload: Buffer): ExecExit {
  const signal = payload.readInt32LE(4)
  if (signal === 0) return { exitCode: payload.readInt32LE(0), signal: null }
  return { exitCode: null, signal: NAMES.find(([, number]) => number === signal)?.[0] ?? `SIG${signal}` }
}

/** Promise.withResolvers, which Node 20 does not have. */
function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: unknown) => void } {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((fulfil, refuse) => {
    resolve = fulfil
    reject = refuse
  })
  return { promise, resolve, reject }
}
