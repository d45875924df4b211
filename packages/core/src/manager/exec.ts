import type { CallContext } from '../driver.js'
import { messageOf, VMKitError } from '../errors.js'
import type { ExecRequest, ExecResult, ExecSession, OutputChunk } from '../machine.js'
import { readAll, toChunks } from './input.js'
import type { MachineCalls } from './machine-calls.js'
import { ARGUMENTS, OPTIONS, readArgument, readOptions } from './requests.js'
import { after } from './timer.js'
import type { ExecOptions, ExecStreamOptions } from './vm-types.js'

const DEFAULT_MAX_OUTPUT = 16 * 2 ** 20

/** Runs a command to its end: through the driver's streams where it has them, else through its buffered exec. */
export async function exec(calls: MachineCalls, command: readonly string[], given?: ExecOptions): Promise<ExecResult> {
  const options = readOptions(OPTIONS.exec, given, { operation: 'exec', vmId: calls.machine.id })
  const request = toRequest(calls, 'exec', command, { ...options, stdin: options.stdin !== undefined })
  const { timeoutMs, signal, maxOutputBytes = DEFAULT_MAX_OUTPUT } = options
  if (timeoutMs !== undefined) calls.require('exec.kill', 'exec', 'timeoutMs')
  const { driver } = calls
  // The command's own timeout ends in a result, so the call itself has none.
  return calls.call<ExecResult>('exec', { needs: 'exec', guard: 'exec' }, { signal }, async (id, ctx) => {
    if (driver.execStream) return collect(await driver.execStream(id, request, ctx), options, maxOutputBytes, ctx)
    if (!driver.exec) throw new VMKitError('BACKEND_ERROR', `The ${driver.name} driver claims exec and has no method for it`)
    const input = options.stdin === undefined ? undefined : await readAll(options.stdin, 'options.stdin')
    return driver.exec(id, { ...request, input, timeoutMs, maxOutputBytes }, ctx)
  })
}

export async function execStream(calls: MachineCalls, command: readonly string[], given?: ExecStreamOptions): Promise<ExecSession> {
  const options = readOptions(OPTIONS.execStream, given, { operation: 'execStream', vmId: calls.machine.id })
  const request = toRequest(calls, 'execStream', command, options)
  const { driver } = calls
  const spec = { needs: 'exec.stream' as const, guard: 'exec' as const, onLateResult: disposeQuietly }
  return calls.call<ExecSession>('execStream', spec, options, async (id, ctx) => {
    if (!driver.execStream) throw new VMKitError('BACKEND_ERROR', `The ${driver.name} driver claims exec.stream and has no method for it`)
    return driver.execStream(id, request, ctx)
  })
}

function toRequest(
  calls: MachineCalls,
  operation: string,
  command: unknown,
  { env, workdir, user, tty, stdin = false }: Omit<ExecRequest, 'command'>,
): ExecRequest {
  const info = { driver: calls.backend.name, operation, vmId: calls.machine.id }
  const program = readArgument(ARGUMENTS.command, command, 'command', info)
  if (stdin) calls.require('exec.stdin', operation, 'stdin')
  if (tty) calls.require('exec.tty', operation, 'tty')
  return { command: program, env, workdir, user, stdin, tty }
}

async function collect(session: ExecSession, options: ExecOptions, cap: number, ctx: CallContext): Promise<ExecResult> {
  const stdout = new CappedBytes(cap)
  const stderr = new CappedBytes(cap)
  let timedOut = false
  let inputFailure: VMKitError | undefined
  const kill = (): void => void session.kill('SIGKILL').catch(() => {})
  const cancel = after(options.timeoutMs ?? Number.POSITIVE_INFINITY, () => {
    timedOut = true
    kill()
  })
  ctx.signal.addEventListener('abort', kill, { once: true })
  if (ctx.signal.aborted) kill()
  const input = options.stdin === undefined ? undefined : toChunks(options.stdin, 'options.stdin')
  try {
    feed(session, input).catch((error: unknown) => {
      inputFailure = new VMKitError('ABORTED', `Reading the stdin of the command failed: ${messageOf(error)}`, { cause: error })
      kill()
    })
    await drain(session.output, stdout, stderr)
    const exit = await session.wait()
    if (inputFailure) throw inputFailure
    const stdoutBytes = stdout.bytes()
    const stderrBytes = stderr.bytes()
    return {
      ...exit,
      stdout: stdoutBytes.toString('utf8'),
      stderr: stderrBytes.toString('utf8'),
      stdoutBytes,
      stderrBytes,
      timedOut,
      truncated: stdout.truncated || stderr.truncated,
    }
  } finally {
    cancel()
    ctx.signal.removeEventListener('abort', kill)
    // A command may end before its input does.
    void input?.return(undefined).catch(() => {})
    await disposeQuietly(session)
  }
}

async function drain(output: AsyncIterable<OutputChunk>, stdout: CappedBytes, stderr: CappedBytes): Promise<void> {
  for await (const { source, data } of output) (source === 'stderr' ? stderr : stdout).push(data)
}

/** Rejects when reading the input fails; a command that does not read it is no failure: its exit tells how it went. */
async function feed(session: ExecSession, input: AsyncIterable<Uint8Array> | undefined): Promise<void> {
  if (!input) return
  for await (const chunk of input) {
    const written = await session.stdin.write(chunk).then(
      () => true,
      () => false,
    )
    if (!written) return
  }
  await session.stdin.end().catch(() => {})
}

async function disposeQuietly(session: ExecSession): Promise<void> {
  try {
    await session[Symbol.asyncDispose]()
  } catch {
    // The command is over, or nobody waits for it any more.
  }
}

/** Keeps the first bytes, up to a cap. */
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

  bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }
}
