/**
 * Commands in a sandbox. Kata's agent signals the command alone, and its children are processes of another kernel: they are
 * found and signalled by a shell inside, by the mark in their environment, which they keep also when their parent is gone.
 */
import { type CallContext, type ExecRequest, type ExecSession, VMKitError } from '@vmkit/core/driver'
import type { Inner } from './inner.js'

const MARK = 'VMKIT_KATA_EXEC'
/** How long a guest may take for it: under emulation an exec alone takes 1.5 s. */
const KILL_MS = 20_000

/** POSIX shell and its own commands; exits with 0 when it signalled something. SIGKILL repeats, as a process may fork meanwhile. */
const SCRIPT = `hit=1
again=1
while [ "$again" -gt 0 ]; do
  again=0
  for folder in /proc/[0-9]*; do
    pid=\${folder#/proc/}
    [ "$pid" = "$$" ] && continue
    while IFS= read -r line || [ -n "$line" ]; do
      case "$line" in *"$1"*) kill -s "$2" "$pid" 2>/dev/null && hit=0 && again=1; break;; esac
    done 2>/dev/null < "$folder/environ"
  done
  [ "$2" = KILL ] || again=0
done
exit $hit`

export async function execStream(inner: Inner, id: string, request: ExecRequest, ctx: CallContext): Promise<ExecSession> {
  const value = crypto.randomUUID()
  const session = await inner.execStream(id, { ...request, env: { ...request.env, [MARK]: value } }, ctx)
  let isOver = false
  const kill = async (signal: string): Promise<void> => {
    if (isOver) return
    const reached = await signalInside(inner, id, `${MARK}=${value}`, signal)
    // It also removes what it holds of the command.
    if (!reached || signal === 'SIGKILL') await session.kill(signal)
  }
  return {
    ...session,
    kill: (signal = 'SIGKILL') => kill(signal),
    async wait() {
      const exit = await session.wait()
      isOver = true
      return exit
    },
    async [Symbol.asyncDispose]() {
      await kill('SIGKILL')
      await session[Symbol.asyncDispose]()
    },
  }
}

/** `false` when there is no shell inside, or nothing left: then the command alone is signalled. */
async function signalInside(inner: Inner, id: string, mark: string, signal: string): Promise<boolean> {
  const ctx: CallContext = { signal: AbortSignal.timeout(KILL_MS), deadline: undefined, report: () => {} }
  const command = ['/bin/sh', '-c', SCRIPT, 'sh', mark, signal.replace(/^SIG/, '')]
  try {
    const session = await inner.execStream(id, { command, user: '0' }, ctx)
    return (await session.wait()).exitCode === 0
  } catch (error) {
    if (error instanceof VMKitError) return false
    throw error
  }
}
