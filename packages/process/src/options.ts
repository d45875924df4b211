import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { invalidConfig, lazily, validate } from '@vmkit/core/driver'
import * as z from '@vmkit/core/schema'

export const DRIVER = 'process'

export interface ProcessOptions {
  /** Folder that holds the machines. Default: `/var/lib/vmkit/process` for root, else `$XDG_STATE_HOME/vmkit/process` or
   * `~/.local/state/vmkit/process`. */
  stateDir?: string
  /** POSIX shell that supervises; dash, bash and busybox ash are known to do. Default `/bin/sh`. */
  shell?: string
  logs?: {
    /** What one stream may keep on disk; the oldest goes first, down to half of it. Default 64 MiB, least 64 KiB. */
    maxBytes?: number
  }
}

export interface ResolvedOptions {
  stateDir: string
  shell: string
  logBytes: number
}

const LEAST_LOG_BYTES = 64 * 1024
const DEFAULT_LOG_BYTES = 64 * 1024 * 1024

const schema = lazily(() => {
  const text = z.string('a path').check(z.refine((value) => value !== '' && !value.includes('\0'), 'a path'))
  return z.strictObject({
    stateDir: z.optional(text),
    shell: z.optional(text),
    logs: z.optional(
      z.strictObject({
        maxBytes: z.optional(
          z
            .number()
            .check(
              z.refine(
                (value) => Number.isSafeInteger(value) && value >= LEAST_LOG_BYTES,
                `a whole number of bytes from ${LEAST_LOG_BYTES}`,
              ),
            ),
        ),
      }),
    ),
  })
})

/** @throws VMKitError `INVALID_CONFIG` naming the option */
export function resolveOptions(options: ProcessOptions): ResolvedOptions {
  const { stateDir = defaultStateDir(), shell = '/bin/sh', logs } = validate(schema(), options, { root: 'options', driver: DRIVER })
  for (const [name, path] of Object.entries({ stateDir, shell })) {
    if (!isAbsolute(path)) throw invalidConfig(`options.${name}`, 'an absolute path', path, { driver: DRIVER })
  }
  return { stateDir, shell, logBytes: logs?.maxBytes ?? DEFAULT_LOG_BYTES }
}

function defaultStateDir(): string {
  if (process.getuid?.() === 0) return '/var/lib/vmkit/process'
  const base = process.env.XDG_STATE_HOME
  return join(base && isAbsolute(base) ? base : join(homedir(), '.local', 'state'), 'vmkit', 'process')
}
