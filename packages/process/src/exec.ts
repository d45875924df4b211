import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { type ByteSink, type Channel, channel, type ExecExit, type ExecRequest, type ExecSession, type OutputChunk, VMKitError } from '@vmkit/core/driver'
import { findProgram } from './command.js'
import { DRIVER, systemError } from './errors.js'
import { environmentOf, signalNumber, workdirOf } from './lifecycle.js'
import { type ProcessStat, readStat, signalProcess } from './proc.js'
import type { Machine } from './store.js'
import { execMembers, killAll } from './tree.js'

/** Set beside the machine's marker, so that one exec can be ended with all it started. */
const EXEC_MARKER = 'VMKIT_PROCESS_EXEC'
// After its end: a child that left the command keeps the pipe open, and would keep the reader waiting.
const LINGER_MS = 100
const QUEUED_CHUNKS = 4

export async function execStream(machine: Machine, request: ExecRequest, signal: AbortSignal): Promise<ExecSession> {
  const workdir = request.workdir ?? workdirOf(machine)
  const marker = randomBytes(8).toString('hex')
  const env: Record<string, string> = { ...environmentOf(machine), ...request.env, [EXEC_MARKER]: marker }
  const [name = '', ...args] = request.command
  const program = findProgram(name, { path: env.PATH ?? '', workdir, operation: 'exec', field: 'command.0' })
  signal.throwIfAborted()
  const child = spawn(program, args, {
    argv0: name,
    cwd: workdir,
    env,
    detached: true,
    stdio: [request.stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  })
  const spawned = once(child, 'spawn')
  try {
    await spawned
  } catch (error) {
    throw systemError(error, { operation: 'exec', vmId: machine.id })
  }
  return session(child, `${EXEC_MARKER}=${marker}`, signal)
}

function session(child: ChildProcess, marker: string, signal: AbortSignal): ExecSession {
  const root = child.pid === undefined ? undefined : readStat(child.pid)
  const output = channel<OutputChunk>({ capacity: QUEUED_CHUNKS })
  let read = false
  let dropping = false
  const exited = new Promise<ExecExit>((resolve) => {
    child.once('exit', (code, name) => resolve({ exitCode: code, signal: name }))
  })
  const streams = [pump(child.stdout, 'stdout', output, exited), pump(child.stderr, 'stderr', output, exited)]
  void Promise.all(streams).then(() => output.end())

  async function kill(name = 'SIGKILL'): Promise<void> {
    const number = signalNumber(name)
    const members = (): ProcessStat[] => execMembers(root, marker)
    if (name === 'SIGKILL') return killAll(members, new AbortController().signal)
    for (const member of members()) signalProcess(member, number)
  }

  if (signal.aborted) void kill()
  return {
    output: {
      [Symbol.asyncIterator]() {
        read = true
        return output[Symbol.asyncIterator]()
      },
    },
    stdin: byteSink(child.stdin),
    async resize() {
      throw new VMKitError('UNSUPPORTED', 'The command has no terminal', { driver: DRIVER, operation: 'resize', capability: 'exec.tty' })
    },
    kill,
    async wait() {
      if (!read && !dropping) {
        dropping = true
        void drop(output)
      }
      return exited
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) await kill()
      child.stdout?.destroy()
      child.stderr?.destroy()
      child.stdin?.destroy()
    },
  }
}

async function drop(output: AsyncIterable<OutputChunk>): Promise<void> {
  for await (const _ of output);
}

/** Moves one stream into the channel; a reader that is slow slows the command, one that has left does not stop it. */
async function pump(stream: Readable | null, source: 'stdout' | 'stderr', output: Channel<OutputChunk>, exited: Promise<unknown>): Promise<void> {
  if (!stream) return
  let linger: NodeJS.Timeout | undefined
  let over = false
  let busy = false
  const restart = (): void => {
    clearTimeout(linger)
    if (over && !busy) linger = setTimeout(() => stream.destroy(), LINGER_MS)
  }
  void exited.then(() => {
    over = true
    restart()
  })
  try {
    for await (const data of stream) {
      busy = true
      clearTimeout(linger)
      await output.write({ source, data: data as Uint8Array })
      busy = false
      restart()
    }
  } catch {
    // Destroyed: by dispose, or because the command is over.
  } finally {
    clearTimeout(linger)
  }
}

export function byteSink(stream: Writable | null): ByteSink {
  // A command that does not read its input is no error; its exit tells how it went.
  stream?.on('error', () => {})
  const closed = (): VMKitError => new VMKitError('INVALID_STATE', 'The stdin is closed', { driver: DRIVER })
  return {
    async write(data) {
      if (!stream || !stream.writable) throw closed()
      if (stream.write(data)) return
      await new Promise<void>((resolve, reject) => {
        const onDrain = (): void => {
          stream.off('close', onClose)
          resolve()
        }
        const onClose = (): void => {
          stream.off('drain', onDrain)
          reject(closed())
        }
        stream.once('drain', onDrain)
        stream.once('close', onClose)
      })
    },
    async end() {
      if (!stream || stream.writableEnded || stream.destroyed) return
      await new Promise<void>((resolve) => {
        stream.once('close', resolve)
        stream.end(resolve)
      })
    },
  }
}
