import type { Duplex } from 'node:stream'
import { channel, type LogSource, type TerminalSize, VMKitError } from '@vmkit/core/driver'
import type { Clock } from './clock.js'
import type { FileTree } from './file-tree.js'
import type { Program, ProgramIO } from './programs.js'

export interface ProcessExit {
  code: number | null
  signal: string | null
  oom: boolean
}

export interface ProcessOptions {
  program: Program
  argv: readonly string[]
  env: Readonly<Record<string, string>>
  workdir: string
  terminal?: TerminalSize
  /** Whether stdin will be written; otherwise it is empty. */
  stdin: boolean
  clock: Clock
  files: FileTree
  memory: Map<string, unknown>
  /** Takes the output; resolves when more may come. */
  output(source: LogSource, data: Uint8Array): Promise<void>
  listen(port: number, onConnection: (socket: Duplex) => void): void
  /** Adds to the machine's memory; `false` when it is over the limit. */
  allocate(bytes: number): boolean
}

export interface MockProcess {
  readonly exited: Promise<ProcessExit>
  readonly stdin: { write(data: Uint8Array | string): Promise<void>; end(): Promise<void> }
  signal(name: string): void
  freeze(): void
  thaw(): void
  resize(size: TerminalSize): void
}

// POSIX: signals whose default action is not to end the process.
const HARMLESS = new Set(['SIGCHLD', 'SIGURG', 'SIGWINCH', 'SIGCONT'])

/** Runs a program until it returns or is killed. A program that throws exits with 1, its error on stderr. */
export function runProgram(options: ProcessOptions): MockProcess {
  const { clock, program } = options
  const killed = new AbortController()
  const handlers = new Map<string, () => void>()
  const input = channel<Uint8Array>({ capacity: 16 })
  if (!options.stdin) input.end()
  let terminal = options.terminal
  let thawed: Promise<void> | undefined
  let thaw = (): void => {}
  let settle: (exit: ProcessExit) => void = () => {}
  const exited = new Promise<ProcessExit>((resolve) => {
    settle = resolve
  })

  function die(exit: ProcessExit): void {
    if (killed.signal.aborted) return
    settle(exit)
    killed.abort(new VMKitError('ABORTED', 'The program was killed'))
    input.end()
    thaw()
  }

  function write(source: LogSource) {
    return {
      async write(data: string | Uint8Array): Promise<void> {
        await thawed
        killed.signal.throwIfAborted()
        await options.output(terminal ? 'console' : source, typeof data === 'string' ? Buffer.from(data) : data)
      },
    }
  }

  const io: ProgramIO = {
    argv: options.argv,
    env: options.env,
    workdir: options.workdir,
    stdin: input,
    stdout: write('stdout'),
    stderr: write('stderr'),
    killed: killed.signal,
    files: options.files,
    memory: options.memory,
    terminal: () => terminal,
    async sleep(ms) {
      await clock.sleep(ms, killed.signal)
      await thawed
      killed.signal.throwIfAborted()
    },
    onSignal: (name, handler) => void handlers.set(name, handler),
    raise(name) {
      die({ code: null, signal: name, oom: false })
      killed.signal.throwIfAborted()
    },
    listen: options.listen,
    allocate(bytes) {
      if (options.allocate(bytes)) return
      die({ code: null, signal: 'SIGKILL', oom: true })
      killed.signal.throwIfAborted()
    },
  }

  async function run(): Promise<void> {
    try {
      const result = await program(io)
      await thawed
      die({ code: typeof result === 'number' ? result : 0, signal: null, oom: false })
    } catch (error) {
      if (!killed.signal.aborted) await io.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`).catch(() => {})
      die({ code: 1, signal: null, oom: false })
    }
  }
  void run()

  return {
    exited,
    stdin: {
      async write(data) {
        await input.write(typeof data === 'string' ? Buffer.from(data) : data)
      },
      async end() {
        input.end()
      },
    },
    signal(name) {
      const handler = name === 'SIGKILL' ? undefined : handlers.get(name)
      if (handler) handler()
      else if (!HARMLESS.has(name)) die({ code: null, signal: name, oom: false })
    },
    freeze() {
      thawed ??= new Promise((resolve) => {
        thaw = resolve
      })
    },
    thaw() {
      thawed = undefined
      thaw()
    },
    resize(size) {
      terminal = size
      handlers.get('SIGWINCH')?.()
    },
  }
}
