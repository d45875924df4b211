import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { CallContext, LogEntry, LogOptions, LogSource } from '@vmkit/core/driver'
import { findMachine, type Host, type Machine, taskOf } from '../host.js'
import { statusOf } from '../inspect.js'
import { type LogTarget, readLogs } from './read.js'

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
    stamped: record.stamped ?? false,
    async hasEnded() {
      // Asked by id: a machine that is gone, or another one of its name, ends the log with NOT_FOUND.
      const now = await findMachine(host, id, ctx)
      const { state } = statusOf(now, await taskOf(host, now.containerId, ctx, id))
      const isOver = state === 'stopped' || state === 'created' || state === 'failed'
      return (
        isOver &&
        !isHeld(
          machine.containerId,
          host.options.namespace,
          files.map(({ path }) => path),
        )
      )
    },
  }
}

/**
 * Whether the shim of the container still has the files open. The process is over before the shim has copied its last words;
 * then it closes them, while it lives on itself.
 */
function isHeld(containerId: string, namespace: string, paths: readonly string[]): boolean {
  return writersOf(containerId, namespace, paths).some((pid) => {
    try {
      return readdirSync(`/proc/${pid}/fd`).some((fd) => paths.includes(linkOf(join('/proc', pid, 'fd', fd))))
    } catch {
      return false
    }
  })
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
function writersOf(containerId: string, namespace: string, paths: readonly string[]): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      const isShim = argumentOf(args, '-id') === containerId && argumentOf(args, '-namespace') === namespace
      return isShim || paths.includes(argumentOf(args, 'file') ?? '')
    } catch {
      return false
    }
  })
}

function argumentOf(args: readonly string[], flag: string): string | undefined {
  const index = args.indexOf(flag)
  return index < 0 ? undefined : args[index + 1]
}
