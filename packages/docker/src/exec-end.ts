import { VMKitError } from '@vmkit/core'
import { type ExecExit, limitOf } from '@vmkit/core/driver'
import { engineError } from './errors.js'
import { type Machines, type Place, unaborted } from './machines.js'
import type { ExecInspect } from './wire.js'

/** The engine closes the streams a moment before it knows the exit code; it has no event that is not also a race. */
export const EXIT_POLL_MS = [1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000, 1000, 1000]
const LATER_POLL_MS = 1000
/** What the engine says of a command that it could not start; why, it writes as its output. */
const NOT_STARTED = 126
/** The engine may refuse a command for the end of its machine a moment before it tells of that end itself. */
const END_TOLD_MS = 3000

export function inspectExec({ engine, id }: Place, execId: string): Promise<ExecInspect> {
  return engine.json<ExecInspect>({
    method: 'GET',
    path: `/exec/${execId}/json`,
    context: { vmId: id, operation: 'exec' },
  })
}

/** Asks until the engine knows, or `isLeft` says that nobody wants to know it any more. */
export async function exitOf(machines: Machines, place: Place, execId: string, isLeft: () => boolean): Promise<ExecExit> {
  const details = { driver: 'docker', vmId: place.id, operation: 'exec' }
  for (let looks = 0; ; looks += 1) {
    const { Running, ExitCode } = await inspectExec(place, execId)
    // The engine tells a code only: a death by signal looks like an exit with 128 + its number.
    if (!Running && ExitCode !== null) return { exitCode: ExitCode, signal: null }
    const delay = EXIT_POLL_MS[looks]
    // A command may have closed its output and go on, as long as its machine does.
    if (delay === undefined && (isLeft() || !Running || !(await runs(machines, place)))) break
    await new Promise((resolve) => setTimeout(resolve, delay ?? LATER_POLL_MS))
  }
  throw new VMKitError('BACKEND_ERROR', 'The engine closed the streams of a command and never told how it ended', details)
}

/** @throws `INVALID_STATE` when the machine ended or was paused before the command could start: that is no exit of the command */
export async function requireStart(machines: Machines, place: Place, execId: string, { exitCode }: ExecExit, words: string): Promise<void> {
  const { engine, path, id } = place
  if (exitCode !== NOT_STARTED || engine.isPodman || engineError(undefined, words).code === 'INVALID_CONFIG') return
  if ((await inspectExec(place, execId)).Pid !== 0) return
  using limit = limitOf(undefined, END_TOLD_MS)
  const hasEnded = await engine
    .json({ method: 'POST', path: `${path}/wait`, query: { condition: 'not-running' }, signal: limit.signal, context: { vmId: id } })
    .then(
      () => true,
      (error: unknown) => {
        if (limit.isOver()) return false
        throw error
      },
    )
  if (hasEnded || (await machines.inspect(id, unaborted())).State.Paused)
    throw new VMKitError('INVALID_STATE', `The machine ended or was paused before the command had started: ${words.trim()}`, {
      driver: 'docker',
      vmId: id,
      operation: 'exec',
    })
}

async function runs(machines: Machines, { id }: Place): Promise<boolean> {
  const { State } = await machines.inspect(id, unaborted())
  return State.Running && !State.Restarting
}
