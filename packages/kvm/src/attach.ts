/** The main command of an image: what it writes from now on, as its logs have it, and its stdin or terminal through the guest. */
import { type ByteSink, type CallContext, type ExecSession, type TerminalSession, VMKitError } from '@vmkit/core/driver'
import { followOutput } from '@vmkit/core/state-folder'
import { startSession } from './agent/session.js'
import { DRIVER, invalidState } from './errors.js'
import type { Host } from './host.js'
import { hasEnded, mainFilesOf } from './logs.js'
import { statusOf } from './state/run.js'
import type { Machine } from './state/store.js'

export async function attach(host: Host, machine: Machine, { signal }: CallContext): Promise<TerminalSession> {
  const { config, folder } = machine
  const { state } = statusOf(folder)
  if (state !== 'running' && state !== 'paused') throw invalidState(machine.id, 'attach to', state)
  const follower = await followOutput({
    folder: folder.path,
    files: mainFilesOf(config.tty, folder),
    hasEnded: () => hasEnded(folder, false),
  })
  const input = config.tty || config.stdin ? await openInput(host, machine, signal).catch(leave) : undefined

  async function leave(error: unknown): Promise<never> {
    await follower.close()
    throw error
  }

  async function close(): Promise<void> {
    await follower.close()
    await input?.[Symbol.asyncDispose]()
  }

  return {
    output: follower.output,
    stdin: input?.stdin ?? noInput(machine),
    async resize(size) {
      if (!config.tty)
        throw new VMKitError('INVALID_STATE', 'The main process has no terminal', { driver: DRIVER, operation: 'resize', vmId: machine.id })
      await input?.resize(size)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

function openInput(host: Host, machine: Machine, signal: AbortSignal): Promise<ExecSession> {
  const failure = ({ errno: code }: { errno: number }): VMKitError =>
    new VMKitError('GUEST_ERROR', `The stdin of the main process cannot be reached: it is closed (error ${code})`, {
      driver: DRIVER,
      operation: 'attach',
      vmId: machine.id,
    })
  return host.guests.use(machine, signal, (port) => startSession(port, [], { kind: 'attach', failure }, signal))
}

function noInput({ id }: Machine): ByteSink {
  const refuse = async (): Promise<void> => {
    throw new VMKitError('INVALID_STATE', 'The main process was made without a stdin', {
      driver: DRIVER,
      operation: 'attach',
      vmId: id,
      hint: 'Set config.stdin',
    })
  }
  return { write: refuse, end: refuse }
}
