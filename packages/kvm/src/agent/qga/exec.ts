/** Commands through QEMU's guest agent, which collects their output and gives it at their end. */
import { constants } from 'node:os'
import { type ByteSink, channel, type ExecExit, type ExecRequest, type ExecSession, type OutputChunk, VMKitError } from '@vmkit/core/driver'
import { DRIVER } from '../../errors.js'
import type { Machine } from '../../state/store.js'
import { signalNumber } from '../session.js'
import { withAgent } from './conversation.js'

const POLL_MS = [5, 10, 20, 40, 80, 160, 250]
const SIGNAL_POLL_MS = 5

interface ExecStatus {
  exited: boolean
  exitcode?: number
  signal?: number
  'out-data'?: string
  'err-data'?: string
  'out-truncated'?: boolean
  'err-truncated'?: boolean
}

/** A session of its own, for all it starts, so that it can be ended as a whole; in the folder that was asked for. */
const WRAPPER = 'cd -- "$1" || exit 126; shift; exec "$@"'
/** util-linux's su makes a session of its own for `-c`, out of reach of a signal to this one; other kinds of su make none. */
const AS_USER =
  'if su --help 2>&1 | grep -q -e --session-command; then how=--session-command; else how=-c; fi; ' +
  'exec su -s /bin/sh "$how" \'cd -- "$1" || exit 126; shift; exec "$@"\' -- "$0" sh "$@"'
/** To the whole session. No `--` before the group: dash and busybox take it for a number, and signal nobody. */
const SIGNAL = 'kill "-$1" "-$2" 2>/dev/null || kill "-$1" "$2"'

export async function agentExec(machine: Machine, request: ExecRequest, signal: AbortSignal): Promise<ExecSession> {
  const { command, env = {}, workdir = '/', user, stdin = false } = request
  const output = channel<OutputChunk>({ capacity: 2 })
  const input: Buffer[] = []
  let pid: number | undefined
  let isOver = false
  let killedBy: string | undefined

  let begin = (): void => {}

  async function run(): Promise<ExecExit> {
    const wrapped = user === undefined ? ['-c', WRAPPER, 'sh', workdir, ...command] : ['-c', AS_USER, user, workdir, ...command]
    const started = await withAgent(machine, signal, (agent) =>
      agent.call<{ pid: number }>('guest-exec', {
        path: 'setsid',
        arg: ['/bin/sh', ...wrapped],
        env: [
          'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
          ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
        ],
        'capture-output': true,
        ...(input.length > 0 ? { 'input-data': Buffer.concat(input).toString('base64') } : {}),
      }),
    )
    pid = started.pid
    if (killedBy !== undefined) await kill(killedBy)
    for (let round = 0; ; round += 1) {
      const status = await withAgent(machine, new AbortController().signal, (agent) =>
        agent.call<ExecStatus>('guest-exec-status', { pid: started.pid }),
      )
      if (status.exited) return finish(status)
      await pause(POLL_MS[Math.min(round, POLL_MS.length - 1)] as number)
    }
  }

  function finish(status: ExecStatus): ExecExit {
    isOver = true
    for (const [source, data] of [
      ['stdout', status['out-data']],
      ['stderr', status['err-data']],
    ] as const) {
      if (data !== undefined) void output.write({ source, data: Buffer.from(data, 'base64') })
    }
    // What is missing must not pass for the whole.
    output.end(status['out-truncated'] || status['err-truncated'] ? truncated(machine) : undefined)
    return status.signal === undefined
      ? { exitCode: status.exitcode ?? null, signal: null }
      : { exitCode: null, signal: nameOf(status.signal) }
  }

  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  const ended = begun.then(run)
  ended.catch((error: unknown) => {
    isOver = true
    output.end(error)
  })
  if (!stdin) begin()

  const sink: ByteSink = {
    async write(data) {
      input.push(Buffer.from(data))
    },
    async end() {
      begin()
    },
  }

  async function kill(name = 'SIGKILL'): Promise<void> {
    if (isOver) return
    killedBy = name
    begin()
    // One that is being started is killed as soon as it is there.
    if (pid === undefined) return
    const arg = ['-c', SIGNAL, 'sh', String(signalNumber(name)), String(pid)]
    await withAgent(machine, new AbortController().signal, async (agent) => {
      const killer = await agent.call<{ pid: number }>('guest-exec', { path: '/bin/sh', arg })
      // The agent keeps what ended until somebody asks.
      while (!(await agent.call<ExecStatus>('guest-exec-status', killer)).exited) await pause(SIGNAL_POLL_MS)
    })
  }

  return {
    output,
    stdin: sink,
    async resize() {
      throw new VMKitError('UNSUPPORTED', 'A command of the guest agent has no terminal', { driver: DRIVER, operation: 'resize' })
    },
    kill,
    wait: () => ended,
    async [Symbol.asyncDispose]() {
      if (isOver) return
      await kill()
      await ended.catch(() => {})
    },
  }
}

function truncated({ id }: Machine): VMKitError {
  return new VMKitError('GUEST_ERROR', 'The guest agent keeps the first 16 MiB of a stream only, and the command wrote more', {
    driver: DRIVER,
    operation: 'exec',
    vmId: id,
    hint: 'Let it write to a file, and read that by files.readStream()',
  })
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function nameOf(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `SIG${number}`
}
