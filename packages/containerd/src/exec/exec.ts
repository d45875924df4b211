import { randomBytes } from 'node:crypto'
import {
  type CallContext,
  channel,
  type ExecExit,
  type ExecRequest,
  type ExecSession,
  type OutputChunk,
  VMKitError,
} from '@vmkit/core/driver'
import { processAny, specOf } from '../any.js'
import { CLEANUP_MS } from '../cleanup.js'
import { accountsOf } from '../files/accounts.js'
import type { Containerd } from '../grpc/connection.js'
import { hasCode } from '../grpc/errors.js'
import { findMachine, type Host, type Machine } from '../host.js'
import type { SpecProcess } from '../spec/types.js'
import { resolveUser } from '../spec/users.js'
import { exitOf } from '../task/wait.js'
import { drained } from './drained.js'
import { NO_STDIN, type Reader, readFifo, type Writer, writeFifo } from './fifo-streams.js'
import { EXEC_MARK, isLeft, killExec } from './kill.js'

const CHUNKS_HELD = 16

/** Runs a command, with its streams. Its environment carries a mark by which it is found, with its children, to be killed. */
export async function execStream(host: Host, id: string, request: ExecRequest, ctx: CallContext): Promise<ExecSession> {
  const machine = await findMachine(host, id, ctx)
  const containerd = await host.containerd()
  const execId = `vmkit-${randomBytes(8).toString('hex')}`
  const process = await processOf(host, machine, request, execId, ctx)
  const isTty = request.tty !== undefined
  const fifos = await host.fifos.take(1 + (isTty ? 0 : 1) + (request.stdin ? 1 : 0))
  const [stdout = '', second = '', third = ''] = fifos
  const stderr = isTty ? '' : second
  const stdin = request.stdin ? (isTty ? second : third) : ''

  let dropping = false
  let hasReader = false
  const output = channel<OutputChunk>({
    capacity: CHUNKS_HELD,
    onClose: () => {
      dropping = true
    },
  })
  const isDropping = (): boolean => dropping
  const readers: Reader[] = []
  try {
    readers.push(readFifo(stdout, isTty ? 'console' : 'stdout', output, isDropping))
    if (stderr !== '') readers.push(readFifo(stderr, 'stderr', output, isDropping))
    const target = { containerId: machine.containerId, execId }
    const options = { signal: ctx.signal, vmId: id }
    await containerd.tasks.exec({ ...target, stdin, stdout, stderr, terminal: isTty, spec: processAny(process) }, options)
    let input: Writer = NO_STDIN
    try {
      // The daemon goes on with a start whose client has left: it is awaited, and what it started is killed.
      await containerd.tasks.start(target, { vmId: id })
      if (request.stdin) input = await writeFifo(stdin, () => closeIO(containerd, target))
      ctx.signal.throwIfAborted()
    } catch (error) {
      await discard(host, machine, execId)
      throw error
    }
    return session()

    function session(): ExecSession {
      let exit: ExecExit | undefined
      let rest: Promise<void> | undefined
      const finished = finish()
      finished.catch(() => {})

      async function finish(): Promise<ExecExit> {
        const { exitStatus } = await exitOf(containerd, target, { vmId: id }).catch((error: unknown) => {
          // With the machine its commands go, and with them what they would have told.
          const told = hasCode(error, 'NOT_FOUND')
            ? new VMKitError('GUEST_ERROR', 'The machine ended before the command did', { vmId: id, cause: error })
            : error
          close(told)
          throw told
        })
        // Who reads slowly, or not to the end, is told of the exit, and loses nothing.
        await new Promise<void>((resolve) => {
          const hasChildren = () => isLeft(host, machine, execId)
          rest = drained(readers, { hasChildren, onHeldUp: resolve }).then(() => {
            close()
            resolve()
          })
        })
        // The shim tells a code only: a death by signal looks like an exit with 128 + its number.
        exit = { exitCode: exitStatus, signal: null }
        return exit
      }

      function close(error?: unknown): void {
        output.end(error)
        input.destroy()
        release()
      }

      function release(): void {
        const isWhole = readers.every((reader) => reader.isDrained())
        for (const reader of readers) reader.destroy()
        void containerd.tasks.deleteProcess(target, { timeoutMs: CLEANUP_MS }).then(
          () => (isWhole ? host.fifos.give(fifos) : host.fifos.drop(fifos)),
          () => host.fifos.drop(fifos),
        )
      }

      return {
        output: {
          [Symbol.asyncIterator]() {
            hasReader = true
            return output[Symbol.asyncIterator]()
          },
        },
        stdin: { write: input.write, end: input.end },
        async resize({ columns, rows }) {
          await containerd.tasks.resizePty({ ...target, width: columns, height: rows }, { vmId: id })
        },
        async kill(signal = 'SIGKILL') {
          if (exit === undefined) await killExec(host, machine, execId, signal, () => exit !== undefined)
        },
        wait() {
          if (!hasReader) drop()
          return finished
        },
        async [Symbol.asyncDispose]() {
          if (exit === undefined) await killExec(host, machine, execId, 'SIGKILL', () => exit !== undefined)
          drop()
          await finished.catch(() => {})
          await rest
        },
      }

      function drop(): void {
        if (dropping) return
        dropping = true
        // Nobody will read: what waits in the channel must not hold the streams up.
        void output[Symbol.asyncIterator]().return?.()
      }
    }
  } catch (error) {
    for (const reader of readers) reader.destroy()
    host.fifos.drop(fifos)
    ctx.signal.throwIfAborted()
    throw notRunning(error, id)
  }
}

async function closeIO(containerd: Containerd, target: { containerId: string; execId: string }): Promise<void> {
  await containerd.tasks.closeIO({ ...target, stdin: true }).catch((error: unknown) => {
    // The command is over.
    if (!hasCode(error, 'NOT_FOUND', 'INVALID_STATE')) throw error
  })
}

/** A command that was not to be: it may have started. */
async function discard(host: Host, machine: Machine, execId: string): Promise<void> {
  const containerd = await host.containerd()
  const target = { containerId: machine.containerId, execId }
  await killExec(host, machine, execId, 'SIGKILL', () => false, true).catch(() => {})
  await containerd.tasks.wait(target, { timeoutMs: 2000 }).catch(() => {})
  await containerd.tasks.deleteProcess(target, { timeoutMs: CLEANUP_MS }).catch(() => {})
}

function notRunning(error: unknown, vmId: string): unknown {
  if (!hasCode(error, 'NOT_FOUND')) return error
  return new VMKitError('INVALID_STATE', 'The machine does not run', { vmId, operation: 'exec', cause: error })
}

async function processOf(host: Host, machine: Machine, request: ExecRequest, mark: string, ctx: CallContext): Promise<SpecProcess> {
  const base = specOf(machine.container.spec)?.process
  if (!base) throw new VMKitError('BACKEND_ERROR', 'The container has no spec that can be read', { vmId: machine.id })
  const { rlimits, noNewPrivileges, apparmorProfile } = base
  const user =
    request.user === undefined ? base.user : resolveUser(request.user, await accountsOf(host, machine, request.user, ctx), 'options.user')
  const isRoot = user.uid === 0
  const bounding = base.capabilities?.bounding ?? []
  const variables = new Map(base.env.map((entry) => [entry.slice(0, entry.indexOf('=')), entry]))
  if (request.tty) variables.set('TERM', 'TERM=xterm')
  for (const [name, value] of Object.entries(request.env ?? {})) variables.set(name, `${name}=${value}`)
  variables.set(EXEC_MARK, `${EXEC_MARK}=${mark}`)
  return {
    terminal: request.tty !== undefined,
    ...(request.tty ? { consoleSize: { width: request.tty.columns, height: request.tty.rows } } : {}),
    user: { uid: user.uid, gid: user.gid, ...(user.additionalGids ? { additionalGids: user.additionalGids } : {}) },
    args: [...request.command],
    env: [...variables.values()],
    cwd: request.workdir ?? base.cwd,
    capabilities: { bounding, effective: isRoot ? bounding : [], permitted: isRoot ? bounding : [], inheritable: [], ambient: [] },
    noNewPrivileges,
    ...(rlimits ? { rlimits } : {}),
    ...(apparmorProfile === undefined ? {} : { apparmorProfile }),
  }
}
