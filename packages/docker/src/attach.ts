import { VMKitError } from '@vmkit/core'
import type { ByteSink, CallContext, TerminalSession } from '@vmkit/core/driver'
import type { Machines } from './machines.js'
import { rawSession } from './session.js'

/** The main process: its output from now on, and its stdin when the machine was made with one. */
export async function attach(machines: Machines, id: string, ctx: CallContext): Promise<TerminalSession> {
  const { engine, path, facts } = await machines.find(id, ctx)
  const socket = await engine.hijack({
    method: 'POST',
    path: `${path}/attach`,
    query: { stream: true, stdin: true, stdout: true, stderr: true },
    signal: ctx.signal,
    context: { vmId: id, operation: 'attach' },
  })
  const session = rawSession(socket, facts.tty, async () => {
    // A clean end may be the engine's own: it must be there to say that the machine ended.
    await machines.inspect(id, { signal: new AbortController().signal })
  })
  return {
    output: session.output,
    stdin: { write: session.stdin.write, end: () => endStdin(session.stdin, facts.stdinOnce, id) },
    resize: async ({ columns, rows }) => {
      await engine.json({
        method: 'POST',
        path: `${path}/resize`,
        query: { h: rows, w: columns },
        context: { vmId: id, operation: 'attach' },
      })
    },
    close: async () => session.destroy(),
    [Symbol.asyncDispose]: async () => session.destroy(),
  }
}

/** The engine closes the stdin of a main process with each client that leaves, or never: that is settled at creation. */
async function endStdin(stdin: ByteSink, stdinOnce: boolean, id: string): Promise<void> {
  if (stdinOnce) return stdin.end()
  throw new VMKitError(
    'UNSUPPORTED',
    'The engine cannot close the stdin of this main process, because it must survive clients that leave',
    {
      driver: 'docker',
      operation: 'attach',
      vmId: id,
      hint: 'Create it with driverOptions.docker.stdinOnce: then its stdin ends with the first client that leaves',
    },
  )
}
