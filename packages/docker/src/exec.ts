import { VMKitError } from '@vmkit/core'
import type { CallContext, ExecExit, ExecRequest, ExecSession, TerminalSize } from '@vmkit/core/driver'
import { hasCode } from './errors.js'
import { EXEC_MARK, killMarked } from './exec-kill.js'
import type { Machines, Place } from './machines.js'
import { rawSession, untilReset } from './session.js'
import type { ExecInspect } from './wire.js'

const CONSOLE_SIZE_API = '1.42'
/** The engine closes the streams a moment before it knows the exit code; it has no event that is not also a race. */
const EXIT_POLL_MS = [1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000, 1000, 1000]

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
  const atEnd = async () => {
    exit = await exitOf(place, Id)
  }
  const session = rawSession(socket, tty !== undefined, atEnd, engine.isPodman && engine.isLocal ? untilReset(socket) : socket)
  const isOver = async (): Promise<boolean> => exit !== undefined || !(await inspectExec(place, Id)).Running

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

async function exitOf(place: Place, execId: string): Promise<ExecExit> {
  for (const delay of EXIT_POLL_MS) {
    const { Running, ExitCode } = await inspectExec(place, execId)
    // The engine tells a code only: a death by signal looks like an exit with 128 + its number.
    if (!Running && ExitCode !== null) return { exitCode: ExitCode, signal: null }
    await new Promise((resolve) => setTimeout(resolve, delay))
  }
  throw new VMKitError('BACKEND_ERROR', 'The engine closed the streams of a command and never told how it ended', {
    driver: 'docker',
    vmId: place.id,
    operation: 'exec',
  })
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
