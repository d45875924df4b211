import type { CallContext, TerminalSession } from '@vmkit/core/driver'
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
    stdin: session.stdin,
    resize: async ({ columns, rows }) => {
      await engine.json({ method: 'POST', path: `${path}/resize`, query: { h: rows, w: columns }, context: { vmId: id, operation: 'attach' } })
    },
    close: async () => session.destroy(),
    [Symbol.asyncDispose]: async () => session.destroy(),
  }
}
