import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'
import { invalidConfig, VMKitError } from '@vmkit/core/driver'
import { DRIVER } from './errors.js'

export interface CommandContext {
  /** The PATH of the machine. */
  path: string
  workdir: string
  operation: string
  /** Name of the field in errors. */
  field: string
}

/**
 * The file that a command names, as execvp(3) finds it.
 * @throws VMKitError `INVALID_CONFIG` when there is none, `PERMISSION_DENIED` when it may not be run
 */
export function findProgram(name: string, context: CommandContext): string {
  const details = { driver: DRIVER, operation: context.operation }
  const candidates = name.includes('/')
    ? [resolve(context.workdir, name)]
    : context.path.split(':').map((folder) => resolve(context.workdir, join(folder || '.', name)))
  let denied: string | undefined
  for (const candidate of candidates) {
    const found = inspect(candidate)
    if (found === 'runs') {
      checkInterpreter(candidate, context)
      return candidate
    }
    if (found === 'denied') denied ??= candidate
  }
  if (denied !== undefined) throw new VMKitError('PERMISSION_DENIED', `${denied} may not be run`, { ...details, field: context.field })
  throw invalidConfig(context.field, name.includes('/') ? 'a program that exists' : 'a program that is in the PATH', name, details)
}

function inspect(path: string): 'runs' | 'denied' | 'none' {
  try {
    const stat = statSync(path)
    if (!stat.isFile()) return stat.isDirectory() ? 'denied' : 'none'
    accessSync(path, constants.X_OK)
    return (stat.mode & 0o111) === 0 ? 'denied' : 'runs'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? 'denied' : 'none'
  }
}

const LONGEST_FIRST_LINE = 256

/** A script whose interpreter is missing would fail only after the start has been reported. */
function checkInterpreter(path: string, context: CommandContext): void {
  const interpreter = interpreterOf(firstBytes(path))
  if (interpreter === undefined || (isAbsolute(interpreter) && inspect(interpreter) === 'runs')) return
  throw invalidConfig(context.field, 'a script whose interpreter can be run', `${path} with ${interpreter}`, {
    driver: DRIVER,
    operation: context.operation,
  })
}

/** What a `#!` line names; `undefined` for any other file. */
export function interpreterOf(head: string): string | undefined {
  return /^#![ \t]*([^ \t\n]+)/.exec(head)?.[1]
}

function firstBytes(path: string): string {
  try {
    const file = openSync(path, 'r')
    try {
      const head = Buffer.alloc(LONGEST_FIRST_LINE)
      return head.toString('latin1', 0, readSync(file, head, 0, head.length, 0))
    } finally {
      closeSync(file)
    }
  } catch {
    // Execute-only: the kernel can read it, we cannot.
    return ''
  }
}
