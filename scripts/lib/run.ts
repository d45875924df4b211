import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { finished } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export interface RunOptions {
  env?: Readonly<Record<string, string>>
  /** Folder to run in. Default: the root of the repository. */
  cwd?: string
  /** File that gets stdout and stderr; without it both go to the terminal. */
  log?: string
}

/** What a command has left running may hold its output open, for as long as it likes: the command is over all the same. */
const LEFT_OPEN_MS = 5000

/** Runs a command to its end and resolves with its exit code; 128 when a signal ended it. Rejects when it cannot start. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<number> {
  const [program = '', ...args] = command
  const child = spawn(program, args, {
    cwd: options.cwd ?? ROOT,
    env: environment(options.env),
    stdio: options.log === undefined ? 'inherit' : ['ignore', 'pipe', 'pipe'],
  })
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status) => resolve(status ?? 128))
  })
  // Listened to from the start; awaited below.
  ended.catch(() => {})
  child.once('exit', () => {
    setTimeout(() => {
      for (const stream of [child.stdout, child.stderr]) stream?.destroy()
    }, LEFT_OPEN_MS).unref()
  })
  const written = options.log === undefined ? undefined : await keep(options.log, command, child.stdout, child.stderr)
  const code = await ended
  await written?.()
  return code
}

// Extra certificates make each Node start about 50 ms slower.
function environment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _, ...inherited } = process.env
  return { ...inherited, TURBO_TELEMETRY_DISABLED: '1', ...extra }
}

async function keep(file: string, command: readonly string[], ...outputs: (NodeJS.ReadableStream | null)[]): Promise<() => Promise<void>> {
  await mkdir(dirname(file), { recursive: true })
  const log = createWriteStream(file, { flags: 'a' })
  log.write(`$ ${command.join(' ')}\n`)
  for (const output of outputs) output?.pipe(log, { end: false })
  return () => finished(log.end())
}

/** What a run wrote to its log, without colours; empty when it wrote none. */
export const readLog = async (log: string): Promise<string> => stripVTControlCharacters(await readFile(log, 'utf8').catch(() => ''))
