/** The main process from outside: its stdin and terminal, and what it writes from now on. */
import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import {
  type ByteSink,
  channel,
  type LogSource,
  type OutputChunk,
  type TerminalSession,
  type TerminalSize,
  VMKitError,
} from '@vmkit/core/driver'
import { DRIVER, errno, invalidState, systemError } from './errors.js'
import type { Host } from './host.js'
import { readStat, signalProcess } from './proc.js'
import { type Run, statusOf } from './run.js'
import { byteSink } from './sink.js'
import type { Machine } from './store.js'
import { setTerminalSize } from './terminal-size.js'
import { changes } from './watch.js'

const CHUNK = 64 * 1024
const POLL_MS = 250

export async function attach(host: Host, machine: Machine): Promise<TerminalSession> {
  const { state, run: current } = statusOf(machine)
  if (!current || (state !== 'running' && state !== 'paused')) throw invalidState(machine.id, 'attach to', state)
  const leave = new AbortController()
  const sources: LogSource[] = machine.config.tty ? ['console'] : ['stdout', 'stderr']
  const output = channel<OutputChunk>({ capacity: 4 })
  // Now, before anything can be written to it: what it answers must not be missed.
  const places = sources.map((source) => ({ source, position: statSync(join(machine.folder, source)).size }))
  void follow(machine, places, output.write, leave.signal).then(
    () => output.end(),
    (error: unknown) => output.end(error),
  )
  const stdin = machine.config.stdin ? openInput(machine) : undefined
  const close = async (): Promise<void> => {
    leave.abort()
    stdin?.destroy()
  }
  return {
    output,
    stdin: stdin ? withEnd(stdin, machine, current) : noInput(),
    resize: (size) => resizeTerminal(host, current, size),
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** What is written from now on, until the machine has ended or the reader has left. */
async function follow(
  machine: Machine,
  places: { source: LogSource; position: number }[],
  write: (chunk: OutputChunk) => Promise<boolean>,
  signal: AbortSignal,
): Promise<void> {
  const watch = changes(machine.folder, POLL_MS)
  const files = await Promise.all(places.map(async (place) => ({ ...place, file: await open(join(machine.folder, place.source), 'r') })))
  try {
    for (;;) {
      const ended = hasEnded(machine)
      for (const entry of files) {
        for (;;) {
          const { buffer, bytesRead } = await entry.file.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, entry.position)
          if (bytesRead === 0) break
          entry.position += bytesRead
          if (!(await write({ source: entry.source, data: buffer.subarray(0, bytesRead) }))) return
        }
      }
      if (ended || signal.aborted) return
      await watch.next(signal)
    }
  } finally {
    watch.close()
    await Promise.all(files.map(({ file }) => file.close()))
  }
}

function hasEnded(machine: Machine): boolean {
  try {
    const { state } = statusOf(machine)
    return state === 'stopped' || state === 'created'
  } catch {
    return true
  }
}

function openInput(machine: Machine): Socket {
  try {
    const fd = openSync(join(machine.folder, 'stdin'), constants.O_WRONLY | constants.O_NONBLOCK)
    if (!fstatSync(fd).isFIFO()) {
      closeSync(fd)
      throw new Error('stdin is no FIFO')
    }
    return new Socket({ fd, readable: false, writable: true })
  } catch (error) {
    // Nobody has it open for reading.
    if (errno(error) === 'ENXIO')
      throw new VMKitError('INVALID_STATE', 'The main process has closed its stdin', {
        driver: DRIVER,
        operation: 'attach',
        vmId: machine.id,
      })
    throw systemError(error, { operation: 'attach', vmId: machine.id })
  }
}

/** Its end is an end for the machine: the process that holds stdin open lets go too. */
function withEnd(socket: Socket, machine: Machine, { number, supervisor }: Run): ByteSink {
  const sink = byteSink(socket)
  return {
    write: sink.write,
    async end() {
      await sink.end()
      const holder = readStat(Number(readFileSync(join(machine.folder, `holder.${number}`), 'latin1')))
      if (holder && holder.session === supervisor?.pid && holder.start >= supervisor.start) signalProcess(holder, 'SIGKILL')
    },
  }
}

function noInput(): ByteSink {
  const refuse = async (): Promise<never> => {
    throw new VMKitError('INVALID_STATE', 'The machine was created without `stdin: true`', {
      driver: DRIVER,
      operation: 'attach',
      field: 'config.stdin',
    })
  }
  return { write: refuse, end: async () => {} }
}

async function resizeTerminal(host: Host, { main }: Run, size: TerminalSize): Promise<void> {
  if (main) await setTerminalSize(host, main, size)
}
