import { VMKitError } from '@vmkit/core'
import type { CallContext, ExecExit, ExecRequest, ExecSession, TerminalSize } from '@vmkit/core/driver'
import { hasCode } from './errors.js'
import { EXIT_POLL_MS, exitOf, inspectExec, requireStart } from './exec-end.js'
import { EXEC_MARK, killMarked } from './exec-kill.js'
import type { Machines, Place } from './machines.js'
import { rawSession, untilReset } from './session.js'

const CONSOLE_SIZE_API = '1.42'

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
  const atEnd = async (words: string) => {
    exit = await exitOf(machines, place, Id, () => isLeft || ctx.signal.aborted)
    await requireStart(machines, place, Id, exit, words)
  }
  const session = rawSession(socket, tty !== undefined, atEnd, engine.isPodman && engine.isLocal ? untilReset(socket) : socket)
  const isOver = async (): Promise<boolean> => {
    if (exit !== undefined) return true
    // Without a code it has not even begun; with its machine, the engine forgets it.
    return inspectExec(place, Id).then(
      ({ Running, ExitCode }) => !Running && ExitCode !== null,
      (error: unknown) => {
        if (hasCode(error, 'NOT_FOUND')) return true
        throw error
      },
    )
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
