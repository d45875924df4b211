import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, statSync } from 'node:fs'
import type { Readable } from 'node:stream'
import {
  type Channel,
  channel,
  type ExecExit,
  type ExecRequest,
  type ExecSession,
  invalidConfig,
  type LogSource,
  type OutputChunk,
  type TerminalSize,
  VMKitError,
} from '@vmkit/core/driver'
import { type ProcessStat, readStat, signalProcess } from '@vmkit/core/state-folder'
import { findProgram } from './command.js'
import { DRIVER, systemError } from './errors.js'
import { commandLine, type ExecPlan, SIZED_FD } from './exec-command.js'
import type { Host } from './host.js'
import { cgroupFolders, cgroupOf } from './machine-cgroup.js'
import { accountOf, environmentOf, workdirOf } from './main-command.js'
import { signalNumber } from './signals.js'
import { byteSink } from './sink.js'
import type { Machine } from './store.js'
import { setTerminalSize } from './terminal-size.js'
import { execMembers, killAll } from './tree.js'

/** Set beside the machine's marker, so that one exec can be ended with all it started. */
const EXEC_MARKER = 'VMKIT_PROCESS_EXEC'
// After its end: a child that left the command keeps the pipe open, and would keep the reader waiting.
const LINGER_MS = 100
const QUEUED_CHUNKS = 4

export async function execStream(host: Host, machine: Machine, request: ExecRequest, signal: AbortSignal): Promise<ExecSession> {
  const workdir = request.workdir ?? workdirOf(machine)
  checkFolder(workdir)
  const account = accountOf({ user: request.user ?? machine.config.user }, request.user === undefined ? 'config.user' : 'options.user')
  const marker = crypto.randomUUID()
  const env: Record<string, string> = { ...environmentOf(machine, account), ...request.env, [EXEC_MARKER]: marker }
  const [name = '', ...args] = request.command
  const program = findProgram(name, { path: env.PATH ?? '', workdir, operation: 'exec', field: 'command.0' })
  const groups = cgroupFolders(cgroupOf(machine))
  const plan: ExecPlan = { program, argv0: name, args, env, account, groups, tty: request.tty }
  const { file, argv, options, input } = commandLine(host, machine, plan)
  try {
    signal.throwIfAborted()
    const child = spawn(file, argv, {
      ...options,
      cwd: workdir,
      detached: true,
      stdio: [
        request.stdin || request.tty ? 'pipe' : 'ignore',
        'pipe',
        'pipe',
        ...(input === undefined ? [] : [input]),
        ...(request.tty ? (['pipe'] as const) : []),
      ],
    })
    await once(child, 'spawn').catch((error: unknown) => {
      throw systemError(error, { operation: 'exec', vmId: machine.id })
    })
    const made = session(host, child, `${EXEC_MARKER}=${marker}`, signal, request.tty)
    if (request.tty) await sized(child)
    return made
  } finally {
    if (input !== undefined) closeSync(input)
  }
}

/** Until the terminal has its first size: a resize before would be undone by it. */
async function sized(child: ChildProcess): Promise<void> {
  const told = child.stdio[SIZED_FD] as Readable
  await Promise.race([once(told, 'data'), once(told, 'end'), once(child, 'exit')]).finally(() => told.destroy())
}

function checkFolder(workdir: string): void {
  if (statSync(workdir, { throwIfNoEntry: false })?.isDirectory()) return
  throw invalidConfig('options.workdir', 'a folder that exists', workdir, { driver: DRIVER, operation: 'exec' })
}

function session(host: Host, child: ChildProcess, marker: string, signal: AbortSignal, tty: TerminalSize | undefined): ExecSession {
  const root = child.pid === undefined ? undefined : readStat(child.pid)
  const output = channel<OutputChunk>({ capacity: QUEUED_CHUNKS })
  let read = false
  let dropping = false
  const exited = new Promise<ExecExit>((resolve) => {
    child.once('exit', (code, name) => resolve({ exitCode: code, signal: name }))
  })
  const streams = [pump(child.stdout, tty ? 'console' : 'stdout', output, exited), pump(child.stderr, 'stderr', output, exited)]
  void Promise.all(streams).then(() => output.end())

  async function kill(name = 'SIGKILL'): Promise<void> {
    const number = signalNumber(name)
    const members = (): ProcessStat[] => execMembers(root, marker)
    if (name === 'SIGKILL') return killAll(members, new AbortController().signal)
    for (const member of members()) signalProcess(member, number)
  }

  if (signal.aborted) void kill()
  return {
    output: {
      [Symbol.asyncIterator]() {
        read = true
        return output[Symbol.asyncIterator]()
      },
    },
    stdin: byteSink(child.stdin),
    async resize(size) {
      if (!tty) throw new VMKitError('INVALID_STATE', 'The command has no terminal', { driver: DRIVER, operation: 'resize' })
      const owner = execMembers(root, marker).find(({ pid }) => pid !== root?.pid)
      if (owner) await setTerminalSize(host, owner, size)
    },
    kill,
    async wait() {
      if (!read && !dropping) {
        dropping = true
        void drop(output)
      }
      return exited
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) await kill()
      child.stdout?.destroy()
      child.stderr?.destroy()
      child.stdin?.destroy()
    },
  }
}

async function drop(output: AsyncIterable<OutputChunk>): Promise<void> {
  for await (const _ of output);
}

/** Moves one stream into the channel; a reader that is slow slows the command, one that has left does not stop it. */
async function pump(stream: Readable | null, source: LogSource, output: Channel<OutputChunk>, exited: Promise<unknown>): Promise<void> {
  if (!stream) return
  let linger: NodeJS.Timeout | undefined
  let lastLook: NodeJS.Immediate | undefined
  let over = false
  let busy = false
  const cancel = (): void => {
    clearTimeout(linger)
    clearImmediate(lastLook)
  }
  const restart = (): void => {
    cancel()
    // Where this process was held up, the time is over before what has come is read: that is done between these two.
    if (over && !busy) linger = setTimeout(() => (lastLook = setImmediate(() => stream.destroy())), LINGER_MS)
  }
  void exited.then(() => {
    over = true
    restart()
  })
  try {
    for await (const data of stream) {
      busy = true
      cancel()
      await output.write({ source, data: data as Uint8Array })
      busy = false
      restart()
    }
  } catch {
    // Destroyed: by dispose, or because the command is over.
  } finally {
    cancel()
  }
}
