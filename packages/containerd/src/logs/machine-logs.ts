import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { CallContext, LogEntry, LogOptions, LogSource } from '@vmkit/core/driver'
import { type LogTarget, readLogs } from '@vmkit/core/state-folder'
import { findMachine, type Host, type Machine, taskOf } from '../host.js'
import { statusOf } from '../inspect.js'
import { parseStamped } from './stamped.js'

/** For last words that somebody keeps back: a process that is not the machine's has them open. */
const MOST_LATE_MS = 1000
const LOOK_AGAIN_MS = 5
/** A look that took longer counts as this: when this host or this program stands still, whoever writes does, or could not be seen. */
const LONGEST_LOOK_MS = 50

export async function* machineLogs(host: Host, id: string, options: LogOptions, ctx: CallContext): AsyncGenerator<LogEntry> {
  const target = logTarget(host, await findMachine(host, id, ctx), ctx)
  const ended = !options.follow && (await written(target))
  yield* readLogs(ended ? { ...target, hasEnded: () => true } : target, options, ctx.signal)
}

/** Whether it has ended; if so, its writer has written its last words. */
async function written({ progress }: Pick<MachineLog, 'progress'>): Promise<boolean> {
  let waitedMs = 0
  for (let before = performance.now(); ; ) {
    const now = await progress()
    if (now !== 'late' || waitedMs > MOST_LATE_MS) return now === 'over'
    await delay(LOOK_AGAIN_MS)
    const at = performance.now()
    waitedMs += Math.min(at - before, LONGEST_LOOK_MS)
    before = at
  }
}

interface MachineLog extends LogTarget {
  /** `late`: the machine has ended, and its writer has not. */
  progress(): Promise<'goes on' | 'late' | 'over'>
}

export function logTarget(host: Host, machine: Machine, ctx: CallContext): MachineLog {
  const { folder, record, id } = machine
  const sources: readonly LogSource[] = record.config.tty ? ['console'] : ['stdout', 'stderr']
  const files = record.stamped
    ? [{ source: 'stdout' as const, path: folder.log }]
    : sources.map((source) => ({ source, path: folder[source] }))
  const paths = files.map(({ path }) => path)

  async function progress(): ReturnType<MachineLog['progress']> {
    // Asked by id: a machine that is gone, or another one of its name, ends the log with NOT_FOUND.
    const now = await findMachine(host, id, ctx)
    const { state } = statusOf(now, await taskOf(host, now.containerId, ctx, id))
    if (state !== 'stopped' && state !== 'created' && state !== 'failed') return 'goes on'
    const { shims, loggers } = writersOf(machine.containerId, host.options.namespace, paths)
    // A logger that waits for more is told that there is none.
    if (record.stamped) for (const pid of loggers) tellOver(pid)
    return [...shims, ...loggers].some((pid) => isHeld(pid, paths)) ? 'late' : 'over'
  }

  return {
    folder: folder.path,
    files,
    ...(record.stamped ? { parse: parseStamped } : {}),
    progress,
    hasEnded: async () => (await progress()) === 'over',
  }
}

/**
 * Whether a writer still has the files open. The process is over before the shim has copied its last words; then it closes them,
 * while it lives on itself. A logger ends.
 */
function isHeld(pid: string, paths: readonly string[]): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => paths.includes(linkOf(join('/proc', pid, 'fd', fd))))
  } catch {
    return false
  }
}

function tellOver(pid: string): void {
  try {
    process.kill(Number(pid), 'SIGTERM')
  } catch {
    // it has ended
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

/**
 * Shims are told the namespace and the container on their command line (containerd's runtime/v2/README.md), and the logger its
 * file.
 */
function writersOf(containerId: string, namespace: string, paths: readonly string[]): { shims: string[]; loggers: string[] } {
  const found: { shims: string[]; loggers: string[] } = { shims: [], loggers: [] }
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const args = argumentsOf(pid)
    if (argumentOf(args, '-id') === containerId && argumentOf(args, '-namespace') === namespace) found.shims.push(pid)
    else if (paths.includes(argumentOf(args, 'file') ?? '')) found.loggers.push(pid)
  }
  return found
}

function argumentsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}

function argumentOf(args: readonly string[], flag: string): string | undefined {
  const index = args.indexOf(flag)
  return index < 0 ? undefined : args[index + 1]
}
