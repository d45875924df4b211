import type { Duplex } from 'node:stream'
import type { TerminalSize } from '@vmkit/core'
import type { FileTree } from './file-tree.js'

export interface ProgramOutput {
  /** Resolves when the reader keeps up. */
  write(data: string | Uint8Array): Promise<void>
}

/** The world as a program in a mock machine sees it. */
export interface ProgramIO {
  /** Program name and arguments. */
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly workdir: string
  readonly stdin: AsyncIterable<Uint8Array>
  readonly stdout: ProgramOutput
  readonly stderr: ProgramOutput
  /** Fires when the program is killed; what it does afterwards has no effect. */
  readonly killed: AbortSignal
  /** The files of the machine. */
  readonly files: FileTree
  /** Kept in memory snapshots: a program that is restored finds here what it left. Values must survive structuredClone. */
  readonly memory: Map<string, unknown>
  /** The size of its terminal, while it has one. A change comes with the signal SIGWINCH. */
  terminal(): TerminalSize | undefined
  sleep(ms: number): Promise<void>
  /** Handles a signal instead of dying of it. SIGKILL cannot be handled. */
  onSignal(signal: string, handler: () => void): void
  /** Ends the program as this signal would. */
  raise(signal: string): void
  /** Takes connections to a port of the machine; published ports of the host lead here. */
  listen(port: number, onConnection: (socket: Duplex) => void): void
  /** Claims memory; past the machine's limit the kernel's OOM killer ends the program. */
  allocate(bytes: number): void
}

/** What a command does. A number it returns is its exit code; anything else counts as 0. */
export type Program = (io: ProgramIO) => unknown

const forever = 2 ** 31 - 1

/** Programs that every mock machine has, named and used as their UNIX counterparts. */
export const BUILT_IN: Readonly<Record<string, Program>> = {
  true: () => 0,
  false: () => 1,
  exit: (io) => Number(io.argv[1] ?? 0),
  echo: async (io) => io.stdout.write(`${io.argv.slice(1).join(' ')}\n`),
  env: async (io) => {
    for (const [name, value] of Object.entries(io.env)) await io.stdout.write(`${name}=${value}\n`)
  },
  pwd: async (io) => io.stdout.write(`${io.workdir}\n`),
  sleep: async (io) => {
    const seconds = io.argv[1] === 'infinity' ? Number.POSITIVE_INFINITY : Number(io.argv[1])
    for (let left = seconds * 1000; left > 0; left -= forever) await io.sleep(Math.min(left, forever))
  },
  cat: async (io) => {
    if (io.argv.length > 1) {
      for (const path of io.argv.slice(1)) {
        const content = io.files.find(io.files.resolve(path, io.workdir))?.content
        if (!content) {
          await io.stderr.write(`cat: ${path}: no such file\n`)
          return 1
        }
        await io.stdout.write(content)
      }
      return 0
    }
    for await (const chunk of io.stdin) await io.stdout.write(chunk)
    return 0
  },
}
