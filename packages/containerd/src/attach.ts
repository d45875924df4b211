import { existsSync } from 'node:fs'
import { type CallContext, type TerminalSession, VMKitError } from '@vmkit/core/driver'
import { followOutput } from '@vmkit/core/state-folder'
import { NO_STDIN, type Writer, writeFifo } from './exec/fifo-streams.js'
import { hasCode } from './grpc/errors.js'
import { findMachine, type Host } from './host.js'
import { logTarget } from './logs/machine-logs.js'

/** The main process: what it writes from now on, as it stands in its log files, and its stdin when it was made with one. */
export async function attach(host: Host, id: string, ctx: CallContext): Promise<TerminalSession> {
  const machine = await findMachine(host, id, ctx)
  const { containerId, folder, record } = machine
  const containerd = await host.containerd()
  const closed = new AbortController()
  const hasStdin = record.config.stdin && existsSync(folder.stdin)
  // The shim holds an end of its own, so that stdin goes on when a client leaves; it closes it when it is told to.
  const closeIO = async (): Promise<void> => {
    await containerd.tasks.closeIO({ containerId, stdin: true }, { vmId: id }).catch((error: unknown) => {
      if (!hasCode(error, 'NOT_FOUND', 'INVALID_STATE')) throw error
    })
  }
  const live = { signal: closed.signal, deadline: undefined, report: () => {} }
  const follower = await followOutput(logTarget(host, machine, live))
  const stdin: Writer = hasStdin ? await writeFifo(folder.stdin, closeIO).catch(leave) : NO_STDIN
  async function leave(error: unknown): Promise<never> {
    await follower.close()
    throw error
  }
  const close = async (): Promise<void> => {
    const closing = follower.close()
    closed.abort()
    stdin.destroy()
    await closing
  }
  return {
    output: follower.output,
    stdin: { write: stdin.write, end: stdin.end },
    async resize({ columns, rows }) {
      if (!record.config.tty) throw new VMKitError('INVALID_STATE', 'The main process has no terminal', { vmId: id, operation: 'attach' })
      await containerd.tasks.resizePty({ containerId, width: columns, height: rows }, { vmId: id })
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
