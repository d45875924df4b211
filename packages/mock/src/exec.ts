import {
  channel,
  type ExecExit,
  type ExecRequest,
  type ExecSession,
  invalidConfig,
  type OutputChunk,
  type TerminalSession,
  VMKitError,
} from '@vmkit/core/driver'
import type { MockBackend } from './backend.js'
import type { Machine } from './machine.js'
import type { Program } from './programs.js'

// What a shell says of a program that it cannot find (POSIX, 2.8.2).
const NOT_FOUND_EXIT = 127

/** A program beside the main one. It ends with the machine. */
export function execIn(backend: MockBackend, machine: Machine, request: ExecRequest): ExecSession {
  const { limits, execs } = machine
  if (limits.pids !== undefined && execs.size + 2 > limits.pids) {
    throw new VMKitError('RESOURCE_EXHAUSTED', `The machine has its ${limits.pids} processes already`)
  }
  const { workdir = machine.workdir } = request
  if (workdir !== machine.workdir && machine.files.find(workdir)?.type !== 'directory') {
    throw invalidConfig('options.workdir', 'a folder of the machine', workdir)
  }
  const [name] = request.command as [string]
  const program = backend.program(name) ?? notFound
  const output = channel<OutputChunk>({ capacity: 16 })
  const process = machine.run(program, request.command, {
    env: request.env,
    workdir,
    stdin: request.stdin ?? false,
    terminal: request.tty,
    output: async (source, data) => void (await output.write({ source, data })),
  })
  execs.add(process)
  const exit: Promise<ExecExit> = process.exited.then(({ code, signal }) => {
    execs.delete(process)
    output.end()
    return { exitCode: code, signal }
  })
  let reading = false

  return {
    output: {
      [Symbol.asyncIterator]() {
        reading = true
        return output[Symbol.asyncIterator]()
      },
    },
    stdin: process.stdin,
    async resize(size) {
      process.resize(size)
    },
    async kill(signal = 'SIGKILL') {
      process.signal(signal)
    },
    async wait() {
      // Closing the queue lets a program that nobody listens to write on.
      if (!reading) await output[Symbol.asyncIterator]().return?.()
      return exit
    },
    async [Symbol.asyncDispose]() {
      process.signal('SIGKILL')
      await exit
    },
  }
}

const notFound: Program = async (io) => {
  await io.stderr.write(`${io.argv[0]}: not found\n`)
  return NOT_FOUND_EXIT
}

/** The terminal, or the plain streams, of the main process. */
export function attachTo(machine: Machine): TerminalSession {
  const { main } = machine
  if (!main) throw new VMKitError('INVALID_STATE', `Cannot attach to a machine that is \`${machine.state}\``)
  const write = (source: OutputChunk['source'], data: Uint8Array): Promise<unknown> => output.write({ source, data })
  const output = channel<OutputChunk>({ capacity: 16, onClose: () => machine.attached.delete(write) })
  machine.attached.add(write)
  void main.exited.then(() => output.end())
  const close = async (): Promise<void> => {
    machine.attached.delete(write)
    output.end()
  }
  return {
    output,
    stdin: main.stdin,
    async resize(size) {
      machine.terminal = size
      main.resize(size)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
