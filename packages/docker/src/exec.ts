import { VMKitError } from '@vmkit/core'
import type { CallContext, ExecExit, ExecRequest, ExecSession, TerminalSize } from '@vmkit/core/driver'
import { hasCode } from './errors.js'
import { EXEC_MARK, killMarked } from './exec-kill.js'
import { type Machines, type Place, unaborted } from './machines.js'
import { rawSession, untilReset } from './session.js'
import type { ExecInspect } from './wire.js'

const CONSOLE_SIZE_API = '1.42'
/** The engine closes the streams a moment before it knows the exit code; it has no event that is not also a race. */
const EXIT_POLL_MS = [1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000, 1000, 1000]
const LATER_POLL_MS = 1000
/** What the engine says of a command that it could not start. */
const NOT_STARTED = 126

/** Runs a command, with its streams. Its environment carries a mark by which it is found, with its children, to be killed. */
export async function execStream(machines: Machines, id: string, request: ExecRequest, ctx: CallContext): Promise<ExecSession> {
  const place = await machines.at(id, ctx)
  const { engine, path } = place
  const { command, env = {}, workdir, user, stdin = false, tty } = request
  const mark = crypto.randomUUID()
  const context = { vmId: id, operation: 'exec' }
  const { Id } = await engine
    .json<{ Id: string }>({
      method: 'POST',
      path: `${path}/exec`,
      signal: ctx.signal,
      context,
      body: {
        AttachStdin: stdin,
        AttachStdout: true,
        AttachStderr: true,
        Tty: tty !== undefined,
        Cmd: command,
        Env: [`${EXEC_MARK}=${mark}`, ...Object.entries(env).map(([key, value]) => `${key}=${value}`)],
        ...(workdir === undefined ? {} : { WorkingDir: workdir }),
        ...(user === undefined ? {} : { User: user }),
      },
    })
    .catch((error: unknown) => {
      throw hasCode(error, 'CONFLICT')
        ? new VMKitError('INVALID_STATE', (error as VMKitError).message, { ...context, cause: error })
        : error
    })
  const socket = await engine.hijack({
    method: 'POST',
    path: `/exec/${Id}/start`,
    body: {
      Detach: false,
      Tty: tty !== undefined,
      ...(tty && engine.atLeast(CONSOLE_SIZE_API) ? { ConsoleSize: [tty.rows, tty.columns] } : {}),
    },
    signal: ctx.signal,
    context,
  })

  let exit: ExecExit | undefined
  let isLeft = false
  const atEnd = async () => {
    exit = await exitOf(machines, place, Id, () => isLeft || ctx.signal.aborted)
  }
  const session = rawSession(socket, tty !== undefined, atEnd, engine.isPodman && engine.isLocal ? untilReset(socket) : socket)
  const isOver = async (): Promise<boolean> => {
    if (exit !== undefined) return true
    const { Running, ExitCode } = await inspectExec(place, Id)
    // Without a code it has not even begun.
    return !Running && ExitCode !== null
  }

  if (tty && !engine.atLeast(CONSOLE_SIZE_API)) await firstSize(place, Id, tty)
  return {
    output: session.output,
    stdin: session.stdin,
    resize: (size) => resize(place, Id, size),
    async kill(signal = 'SIGKILL') {
      if (exit === undefined) await killMarked(place, mark, signal, isOver)
    },
    async wait() {
      session.drop()
      await session.closed
      return exit as ExecExit
    },
    async [Symbol.asyncDispose]() {
      try {
        if (exit === undefined) await killMarked(place, mark, 'SIGKILL', isOver)
      } finally {
        isLeft = true
        session.destroy()
      }
    },
  }
}

function inspectExec({ engine, id }: Place, execId: string): Promise<ExecInspect> {
  return engine.json<ExecInspect>({
    method: 'GET',
    path: `/exec/${execId}/json`,
    context: { vmId: id, operation: 'exec' },
  })
}

/** Asks until the engine knows, or `isLeft` says that nobody wants to know it any more. */
async function exitOf(machines: Machines, place: Place, execId: string, isLeft: () => boolean): Promise<ExecExit> {
  const details = { driver: 'docker', vmId: place.id, operation: 'exec' }
  for (let looks = 0; ; looks += 1) {
    const { Running, ExitCode, Pid } = await inspectExec(place, execId)
    if (!Running && ExitCode !== null) {
      if (ExitCode === NOT_STARTED && Pid === 0 && !(await runs(machines, place)))
        throw new VMKitError('INVALID_STATE', 'The machine ended before the command had started', details)
      // The engine tells a code only: a death by signal looks like an exit with 128 + its number.
      return { exitCode: ExitCode, signal: null }
    }
    const delay = EXIT_POLL_MS[looks]
    // A command may have closed its output and go on, as long as its machine does.
    if (delay === undefined && (isLeft() || !Running || !(await runs(machines, place)))) break
    await new Promise((resolve) => setTimeout(resolve, delay ?? LATER_POLL_MS))
  }
  throw new VMKitError('BACKEND_ERROR', 'The engine closed the streams of a command and never told how it ended', details)
}

async function runs(machines: Machines, { id }: Place): Promise<boolean> {
  const { State } = await machines.inspect(id, unaborted())
  return State.Running && !State.Restarting
}

async function resize({ engine, id }: Place, execId: string, { columns, rows }: TerminalSize): Promise<void> {
  await engine.json({
    method: 'POST',
    path: `/exec/${execId}/resize`,
    query: { h: rows, w: columns },
    context: { vmId: id, operation: 'exec' },
  })
}

/** Before API 1.42 the size can only be set once the command runs; one that is over needs none. */
async function firstSize(place: Place, execId: string, size: TerminalSize): Promise<void> {
  for (const delay of EXIT_POLL_MS) {
    try {
      return await resize(place, execId, size)
    } catch (error) {
      if (hasCode(error, 'BACKEND_UNAVAILABLE')) throw error
      const { Running, ExitCode } = await inspectExec(place, execId)
      if (!Running && ExitCode !== null) return
      await new Promise((resolve) => setTimeout(resolve, delay))
    }
  }
}
