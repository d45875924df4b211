/** Commands in a machine of the vmkit guest: in the image's root, as its user, with its environment. */
import { type CallContext, type ExecRequest, type ExecSession, VMKitError } from '@vmkit/core/driver'
import type { Records } from '../boot/run-spec.js'
import { DRIVER } from '../errors.js'
import type { ImageProcess } from '../qemu/machine-spec.js'
import type { Machine } from '../state/store.js'
import type { Guests } from './guests.js'
import { agentExec } from './qga/exec.js'
import { type StartFailure, startSession } from './session.js'

export function execStream(guests: Guests, machine: Machine, request: ExecRequest, { signal }: CallContext): Promise<ExecSession> {
  if (machine.boot.process === undefined) return agentExec(machine, request, signal)
  const failure = (why: StartFailure): VMKitError => startError(machine, request, why)
  return guests.use(machine, signal, (port) =>
    startSession(port, execRecords(request, machine.boot.process), { failure, isTerminal: request.tty !== undefined }, signal),
  )
}

export function execRecords(request: ExecRequest, own: ImageProcess = { env: [], user: '', workdir: '/' }): Records {
  const { command, env = {}, user = own.user, workdir = own.workdir, stdin, tty } = request
  const inherited = own.env.filter((entry) => !((entry.split('=')[0] as string) in env))
  return [
    ...command.map((argument) => ['arg', argument] as const),
    ...[...inherited, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)].map((entry) => ['env', entry] as const),
    ['user', user],
    ['workdir', workdir],
    ['stdin', stdin ? '1' : '0'],
    ...(tty
      ? ([
          ['columns', String(tty.columns)],
          ['rows', String(tty.rows)],
        ] as const)
      : []),
  ]
}

/** Linux's numbers, errno(3). */
const REASONS: Readonly<Record<number, string>> = {
  1: 'not permitted',
  2: 'no such file',
  7: 'arguments too long',
  8: 'not a program',
  11: 'too many at a time',
  12: 'no memory left',
  13: 'permission denied',
  20: 'not a folder',
}

function startError(machine: Machine, request: ExecRequest, { step, errno }: StartFailure): VMKitError {
  const what =
    step === 'workdir'
      ? `the workdir ${JSON.stringify(request.workdir ?? machine.boot.process?.workdir)}`
      : step === 'user'
        ? `the user ${JSON.stringify(request.user ?? machine.boot.process?.user)}`
        : step === 'command'
          ? JSON.stringify(request.command[0])
          : `a new ${step}`
  return new VMKitError('GUEST_ERROR', `The command cannot start, because of ${what}: ${REASONS[errno] ?? `error ${errno}`}`, {
    driver: DRIVER,
    operation: 'exec',
    vmId: machine.id,
  })
}
