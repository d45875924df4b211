import { readdir, readFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { VMKitError } from '@vmkit/core'
import { hasCode } from './errors.js'
import type { Place } from './machines.js'

/** Name of the environment variable that a command and all its children carry, with a value of its own. */
export const EXEC_MARK = 'VMKIT_EXEC'

/** On a busy host some seconds go by before a command begins, and with it what can be killed. */
const PAUSE_MS = [2, 4, 8, 16, 32, 64, 125, 250, 500, ...Array<number>(14).fill(1000)]

/**
 * The Engine API cannot signal an exec. Its processes are found by the mark in their environment, which children inherit
 * also when their parent is gone: through this host's /proc where the engine is local and /proc may be read, else by a
 * shell as root inside the container. Repeats until the command is over, because a process may fork in between, and once
 * more then: of a child that it left, nothing else tells. Of what was found in this host's /proc, that tells the end as well: Podman
 * may take ten seconds for it.
 */
export async function killMarked(place: Place, mark: string, signal: string, isOver: () => Promise<boolean>): Promise<void> {
  const needle = `${EXEC_MARK}=${mark}`
  const once = signal !== 'SIGKILL'
  const { isLocal } = place.engine
  let wasSeen = false
  for (const pause of PAUSE_MS) {
    const wasOver = wasSeen || (await isOver())
    const isSeen = isLocal && (await killOnHost(needle, signal)) > 0
    wasSeen ||= isSeen
    const hit = isSeen || (!(isLocal && wasOver) && (await killInside(place, needle, signal, isOver)))
    if (hit ? once : wasOver) return
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
  throw new VMKitError('GUEST_ERROR', `The command does not end on ${signal}`, { driver: 'docker', vmId: place.id, operation: 'exec' })
}

/** How many were signalled. Processes of other users, and those that end meanwhile, cannot be read: they do not count. */
async function killOnHost(needle: string, signal: string): Promise<number> {
  const number = constants.signals[signal as NodeJS.Signals]
  if (number === undefined) throw new VMKitError('INVALID_CONFIG', `Unknown signal ${signal}`, { driver: 'docker', field: 'signal' })
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name))
  const hits = await Promise.all(
    pids.map(async (pid) => {
      try {
        const environment = await readFile(`/proc/${pid}/environ`, 'latin1')
        return environment.split('\0').includes(needle) && process.kill(Number(pid), number)
      } catch {
        return false
      }
    }),
  )
  return hits.filter(Boolean).length
}

/** POSIX shell without any tool beside it: `read` drops the NULs between the variables. */
const SCRIPT = `hit=1
for dir in /proc/[0-9]*; do
  pid=\${dir#/proc/}
  [ "$pid" = "$$" ] && continue
  while IFS= read -r line || [ -n "$line" ]; do
    case "$line" in *"$1"*) kill -s "$2" "$pid" 2>/dev/null && hit=0; break;; esac
  done 2>/dev/null < "$dir/environ"
done
exit $hit`

async function killInside({ engine, path, id }: Place, needle: string, signal: string, isOver: () => Promise<boolean>): Promise<boolean> {
  const context = { vmId: id, operation: 'exec' }
  try {
    const { Id } = await engine.json<{ Id: string }>({
      method: 'POST',
      path: `${path}/exec`,
      context,
      body: { User: '0', Cmd: ['/bin/sh', '-c', SCRIPT, 'sh', needle, signal.replace(/^SIG/, '')] },
    })
    await engine.json({ method: 'POST', path: `/exec/${Id}/start`, body: { Detach: true, Tty: false }, context })
    for (const pause of PAUSE_MS) {
      const { Running, ExitCode } = await engine.json<{ Running: boolean; ExitCode: number | null }>({
        method: 'GET',
        path: `/exec/${Id}/json`,
        context,
      })
      if (!Running && ExitCode !== null) return ExitCode === 0
      await new Promise((resolve) => setTimeout(resolve, pause))
    }
    return false
  } catch (error) {
    if (await isOver().catch(() => hasCode(error, 'NOT_FOUND', 'INVALID_STATE', 'CONFLICT'))) return false
    throw VMKitError.from(error, {
      ...context,
      hint: 'Without access to the processes of the engine, ending a command needs /bin/sh in the container',
    })
  }
}
