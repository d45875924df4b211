import { duration } from '../config/schema.js'
import { validate } from '../config/validate.js'
import type { CallContext } from '../driver.js'
import { VMKitError } from '../errors.js'
import type { ExecExit, ExecRequest, ExecResult, ExecSession, Missing, OutputChunk } from '../machine.js'
import * as z from '../schema.js'
import type { Backend } from './backend.js'
import type { ExecOptions, ExecStreamOptions, Stdin } from './vm-types.js'

const DEFAULT_MAX_OUTPUT = 16 * 2 ** 20

const commandSchema = z
  .array(z.string().check(z.refine((part) => !part.includes('\0'), 'a text without NUL')))
  .check(z.refine((command) => command.length > 0 && command[0] !== '', 'a program and its arguments'))
const wholePositive = (expected: string) =>
  z.number(expected).check(z.refine((value) => Number.isSafeInteger(value) && value > 0, expected))
const requestSchema = z.object({
  env: z.optional(
    z.record(
      z.string().check(z.refine((name) => name !== '' && !/[=\0]/.test(name), "a variable name without '=' and NUL")),
      z.string().check(z.refine((value) => !value.includes('\0'), 'a text without NUL')),
    ),
  ),
  workdir: z.optional(z.string().check(z.refine((path) => path.startsWith('/') && !path.includes('\0'), 'an absolute path'))),
  user: z.optional(z.string().check(z.refine((user) => /^[A-Za-z0-9_][\w.:-]*$/.test(user), 'a user name or number'))),
  tty: z.optional(z.strictObject({ columns: wholePositive('a whole number from 1'), rows: wholePositive('a whole number from 1') })),
  timeoutMs: z.optional(duration),
  maxOutputBytes: z.optional(wholePositive('a whole number of bytes from 1')),
})

interface Machine {
  id: string
  missing?: Missing
}

/** Runs a command to its end: through the driver's streams where it has them, else through its buffered exec. */
export async function exec(backend: Backend, machine: Machine, command: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const request = checkRequest(backend, machine, 'exec', command, { ...options, stdin: options.stdin !== undefined })
  const { timeoutMs, signal, maxOutputBytes = DEFAULT_MAX_OUTPUT } = options
  if (timeoutMs !== undefined)
    backend.require('exec.kill', { operation: 'exec', vmId: machine.id, field: 'timeoutMs', machine: machine.missing })
  return backend.call<ExecResult>(
    { operation: 'exec', vmId: machine.id, needs: 'exec', guard: 'exec' },
    // The command's own timeout ends in a result, so the call itself has none.
    { signal },
    machine.missing,
    async (ctx) => {
      const { driver } = backend
      if (driver.execStream) return collect(await driver.execStream(machine.id, request, ctx), options, maxOutputBytes, ctx)
      if (!driver.exec) throw new VMKitError('BACKEND_ERROR', `The ${driver.name} driver claims exec and has no method for it`)
      const input = options.stdin === undefined ? undefined : await readAll(options.stdin)
      return driver.exec(machine.id, { ...request, input, timeoutMs, maxOutputBytes }, ctx)
    },
  )
}

export async function execStream(
  backend: Backend,
  machine: Machine,
  command: readonly string[],
  options: ExecStreamOptions = {},
): Promise<ExecSession> {
  const request = checkRequest(backend, machine, 'execStream', command, options)
  return backend.call<ExecSession>(
    {
      operation: 'execStream',
      vmId: machine.id,
      needs: 'exec.stream',
      guard: 'exec',
      onLateResult: (session) => void disposeQuietly(session),
    },
    options,
    machine.missing,
    async (ctx) => {
      if (!backend.driver.execStream)
        throw new VMKitError('BACKEND_ERROR', `The ${backend.driver.name} driver claims exec.stream and has no method for it`)
      return backend.driver.execStream(machine.id, request, ctx)
    },
  )
}

function checkRequest(
  backend: Backend,
  machine: Machine,
  operation: string,
  command: unknown,
  options: Omit<ExecRequest, 'command'>,
): ExecRequest {
  const info = { driver: backend.driver.name, operation, vmId: machine.id }
  const parsed = validate(commandSchema, command, { root: 'command', ...info })
  validate(requestSchema, options, { root: 'options', isSecret: (path) => path[0] === 'env', ...info })
  const { env, workdir, user, tty, stdin } = options
  if (stdin) backend.require('exec.stdin', { ...info, field: 'stdin', machine: machine.missing })
  if (tty) backend.require('exec.tty', { ...info, field: 'tty', machine: machine.missing })
  return { command: parsed, env, workdir, user, stdin: stdin ?? false, tty }
}

async function collect(session: ExecSession, options: ExecOptions, cap: number, ctx: CallContext): Promise<ExecResult> {
  const stdout = new CappedBytes(cap)
  const stderr = new CappedBytes(cap)
  let timedOut = false
  const kill = (): void => void session.kill('SIGKILL').catch(() => {})
  const expire = (): void => {
    timedOut = true
    kill()
  }
  const timer = options.timeoutMs === undefined ? undefined : setTimeout(expire, options.timeoutMs)
  ctx.signal.addEventListener('abort', kill, { once: true })
  if (ctx.signal.aborted) kill()
  try {
    const feeding = feed(session, options.stdin)
    await drain(session.output, stdout, stderr)
    const exit: ExecExit = await session.wait()
    await feeding
    return {
      ...exit,
      stdout: stdout.text(),
      stderr: stderr.text(),
      stdoutBytes: stdout.bytes(),
      stderrBytes: stderr.bytes(),
      timedOut,
      truncated: stdout.truncated || stderr.truncated,
    }
  } finally {
    clearTimeout(timer)
    ctx.signal.removeEventListener('abort', kill)
    await session[Symbol.asyncDispose]()
  }
}

async function drain(output: AsyncIterable<OutputChunk>, stdout: CappedBytes, stderr: CappedBytes): Promise<void> {
  for await (const { source, data } of output) (source === 'stderr' ? stderr : stdout).push(data)
}

async function feed(session: ExecSession, stdin: Stdin | undefined): Promise<void> {
  if (stdin === undefined) return
  try {
    for await (const chunk of toChunks(stdin)) await session.stdin.write(chunk)
    await session.stdin.end()
  } catch {
    // A command may end without reading its input; its exit tells how it went.
  }
}

/** Any input as a stream of bytes. */
export async function* toChunks(input: Stdin): AsyncGenerator<Uint8Array> {
  if (typeof input === 'string') yield Buffer.from(input)
  else if (input instanceof Uint8Array) yield input
  else yield* input
}

export async function readAll(input: Stdin): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of toChunks(input)) chunks.push(chunk)
  return chunks.length === 1 ? (chunks[0] as Uint8Array) : Buffer.concat(chunks)
}

async function disposeQuietly(session: ExecSession): Promise<void> {
  try {
    await session[Symbol.asyncDispose]()
  } catch {
    // nobody waits for it any more
  }
}

class CappedBytes {
  readonly #chunks: Uint8Array[] = []
  readonly #cap: number
  #length = 0
  truncated = false

  constructor(cap: number) {
    this.#cap = cap
  }

  push(data: Uint8Array): void {
    const room = this.#cap - this.#length
    if (data.length > room) this.truncated = true
    if (room <= 0) return
    const kept = data.length > room ? data.subarray(0, room) : data
    this.#chunks.push(kept)
    this.#length += kept.length
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#chunks)
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString('utf8')
  }
}
