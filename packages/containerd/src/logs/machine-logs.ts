import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { CallContext, LogEntry, LogOptions, LogSource } from '@vmkit/core/driver'
import { type LogTarget, readLogs } from '@vmkit/core/state-folder'
import { findMachine, type Host, type Machine, taskOf } from '../host.js'
import { statusOf } from '../inspect.js'
import { parseStamped } from './stamped.js'

export async function* machineLogs(host: Host, id: string, options: LogOptions, ctx: CallContext): AsyncGenerator<LogEntry> {
  yield* readLogs(logTarget(host, await findMachine(host, id, ctx), ctx), options, ctx.signal)
}

export function logTarget(host: Host, machine: Machine, ctx: CallContext): LogTarget {
  const { folder, record, id } = machine
  const sources: readonly LogSource[] = record.config.tty ? ['console'] : ['stdout', 'stderr']
  const files = record.stamped
    ? [{ source: 'stdout' as const, path: folder.log }]
    : sources.map((source) => ({ source, path: folder[source] }))
  return {
    folder: folder.path,
    files,
    ...(record.stamped ? { parse: parseStamped } : {}),
    async hasEnded() {
      // Asked by id: a machine that is gone, or another one of its name, ends the log with NOT_FOUND.
      const now = await findMachine(host, id, ctx)
      const { state } = statusOf(now, await taskOf(host, now.containerId, ctx, id))
      const isOver = state === 'stopped' || state === 'created' || state === 'failed'
      const writers = isOver
        ? writersOf(
            machine.containerId,
            host.options.namespace,
            files.map(({ path }) => path),
          )
        : undefined
      // A logger that waits for more is told that there is none.
      if (record.stamped) for (const pid of writers?.loggers ?? []) tellOver(pid)
      return (
        writers !== undefined &&
        ![...writers.shims, ...writers.loggers].some((pid) =>
          isHeld(
            pid,
            files.map(({ path }) => path),
          ),
        )
      )
    },
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
