/** The main command of an image: what it writes from now on, as its logs have it, and its stdin or terminal through the guest. */
import { type FileHandle, open, stat } from 'node:fs/promises'
import {
  type ByteSink,
  type CallContext,
  type ExecSession,
  type LogSource,
  type OutputChunk,
  type TerminalSession,
  VMKitError,
} from '@vmkit/core/driver'
import { startSession } from './agent/session.js'
import { DRIVER, errno, invalidState, systemError } from './errors.js'
import type { Host } from './host.js'
import { statusOf } from './state/run.js'
import type { Machine } from './state/store.js'
import { changes } from './state/watch.js'

const CHUNK = 64 * 1024
const POLL_MS = 250

export async function attach(host: Host, machine: Machine, { signal }: CallContext): Promise<TerminalSession> {
  const { config, folder } = machine
  const { state } = statusOf(folder)
  if (state !== 'running' && state !== 'paused') throw invalidState(machine.id, 'attach to', state)
  const streams = config.tty
    ? [await follow('console', folder.mainLog)]
    : [await follow('stdout', folder.stdoutLog), await follow('stderr', folder.stderrLog)]
  const input = config.tty || config.stdin ? await openInput(host, machine, signal) : undefined
  const closing = new AbortController()

  async function close(): Promise<void> {
    closing.abort()
    await input?.[Symbol.asyncDispose]()
  }

  return {
    output: { [Symbol.asyncIterator]: () => read(machine, streams, closing.signal) },
    stdin: input?.stdin ?? noInput(machine),
    async resize(size) {
      if (!config.tty)
        throw new VMKitError('INVALID_STATE', 'The main process has no terminal', { driver: DRIVER, operation: 'resize', vmId: machine.id })
      await input?.resize(size)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

function openInput(host: Host, machine: Machine, signal: AbortSignal): Promise<ExecSession> {
  const failure = ({ errno: code }: { errno: number }): VMKitError =>
    new VMKitError('GUEST_ERROR', `The stdin of the main process cannot be reached: it is closed (error ${code})`, {
      driver: DRIVER,
      operation: 'attach',
      vmId: machine.id,
    })
  return host.guests.use(machine, signal, (port) => startSession(port, [], { kind: 'attach', failure }, signal))
}

function noInput({ id }: Machine): ByteSink {
  const refuse = async (): Promise<void> => {
    throw new VMKitError('INVALID_STATE', 'The main process was made without a stdin', {
      driver: DRIVER,
      operation: 'attach',
      vmId: id,
      hint: 'Set config.stdin',
    })
  }
  return { write: refuse, end: refuse }
}

interface Followed {
  source: LogSource
  path: string
  at: number
}

async function follow(source: LogSource, path: string): Promise<Followed> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  )
  return { source, path, at: size }
}

async function* read(machine: Machine, streams: Followed[], closed: AbortSignal): AsyncGenerator<OutputChunk> {
  const watch = changes(machine.folder.path, POLL_MS)
  const files = new Map<string, FileHandle>()
  try {
    while (!closed.aborted) {
      // First whether it has ended, then what it wrote: nothing can come in between.
      const ended = hasEnded(machine)
      for (const stream of streams) {
        for (let data = await next(stream, files); data.length > 0 && !closed.aborted; data = await next(stream, files)) {
          stream.at += data.length
          yield { source: stream.source, data }
        }
      }
      if (ended) return
      await watch.next(closed)
    }
  } finally {
    watch.close()
    for (const file of files.values()) await file.close()
  }
}

/** A machine that was deleted writes no more. */
function hasEnded({ folder }: Machine): boolean {
  try {
    const { state } = statusOf(folder)
    return state === 'stopped' || state === 'failed' || state === 'created'
  } catch {
    return true
  }
}

async function next({ path, at }: Followed, files: Map<string, FileHandle>): Promise<Uint8Array> {
  try {
    const file = files.get(path) ?? (await open(path, 'r'))
    files.set(path, file)
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, at)
    return buffer.subarray(0, bytesRead)
  } catch (error) {
    if (errno(error) === 'ENOENT') return new Uint8Array()
    throw systemError(error, { operation: 'attach' })
  }
}
