import { join } from 'node:path'
import type { LogSource } from '@vmkit/core/driver'
import type { LogTarget } from '@vmkit/core/state-folder'
import type { Machine } from './store.js'

/** The files that main appends to by itself. The supervisor gives their oldest blocks back when one is over its cap. */
export function logsOf({ folder, config }: Machine): Pick<LogTarget, 'folder' | 'files'> {
  const sources: LogSource[] = config.tty ? ['console'] : ['stdout', 'stderr']
  return { folder, files: sources.map((source) => ({ source, path: join(folder, source) })) }
}
