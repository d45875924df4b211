/**
 * Logs are plain files that QEMU appends to, one per source. An image's machine has `stdout` and `stderr`, or with a terminal
 * `console`; any other has its serial console. The serial console of an image's machine, which holds the kernel's words, is there
 * when it is asked for by `sources`.
 */
import type { LogEntry, LogOptions, LogSource } from '@vmkit/core/driver'
import { type LogTarget, readLogs as readFiles } from '@vmkit/core/state-folder'
import type { MachineFolder } from './state/machine-folder.js'
import { statusOf } from './state/run.js'
import type { Machine } from './state/store.js'

export function readLogs(machine: Machine, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogEntry> {
  const { folder } = machine
  const target: LogTarget = {
    folder: folder.path,
    files: filesOf(machine, options.sources),
    hasEnded: () => hasEnded(folder, options.follow ?? false),
  }
  return readFiles(target, options, signal)
}

function filesOf({ boot, config, folder }: Machine, wanted: readonly LogSource[] | undefined): LogTarget['files'] {
  if (!boot.reportsExit) return [{ source: 'console', path: folder.consoleLog }]
  const main = mainFilesOf(config.tty, folder)
  return config.tty || !wanted?.includes('console') ? main : [...main, { source: 'console', path: folder.consoleLog }]
}

/** What the main command of an image writes. */
export function mainFilesOf(tty: boolean, folder: MachineFolder): LogTarget['files'] {
  if (tty) return [{ source: 'console', path: folder.mainLog }]
  return [
    { source: 'stdout', path: folder.stdoutLog },
    { source: 'stderr', path: folder.stderrLog },
  ]
}

/** A machine that never ran has not ended for one who follows it; one that was deleted writes no more. */
export function hasEnded(folder: MachineFolder, follow: boolean): boolean {
  try {
    const { state } = statusOf(folder)
    return state === 'stopped' || state === 'failed' || (state === 'created' && !follow)
  } catch {
    return true
  }
}
