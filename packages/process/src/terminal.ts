/** The main process from outside: its stdin and terminal, and what it writes from now on. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { type ByteSink, type TerminalSession, type TerminalSize, VMKitError } from '@vmkit/core/driver'
import { errno, followOutput, readStat, signalProcess } from '@vmkit/core/state-folder'
import { DRIVER, invalidState, systemError } from './errors.js'
import type { Host } from './host.js'
import { logsOf } from './logs.js'
import { type Run, statusOf } from './run.js'
import { byteSink } from './sink.js'
import type { Machine } from './store.js'
import { setTerminalSize } from './terminal-size.js'

export async function attach(host: Host, machine: Machine): Promise<TerminalSession> {
  const { state, run: current } = statusOf(machine)
  if (!current || (state !== 'running' && state !== 'paused')) throw invalidState(machine.id, 'attach to', state)
  const stdin = machine.config.stdin ? openInput(machine) : undefined
  // Before anything can be written to it: what it answers must not be missed.
  const follower = await followOutput({ ...logsOf(machine), hasEnded: () => hasEnded(machine) }).catch((error: unknown) => {
    stdin?.destroy()
    throw error
  })
  const close = async (): Promise<void> => {
    stdin?.destroy()
    await follower.close()
  }
  return {
    output: follower.output,
    stdin: stdin ? withEnd(stdin, machine, current) : noInput(),
    resize: (size) => resizeTerminal(host, current, size),
    close,
    [Symbol.asyncDispose]: close,
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
