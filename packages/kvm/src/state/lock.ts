/**
 * The lock of one machine, across processes and within this one. It is a folder in the machine's own; its holder touches it
 * every second, and who finds it untouched for longer than `STALE_MS` takes it over: so long an app that was killed blocks.
 */
import { mkdirSync, realpathSync, rmdirSync, statSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { VMKitError } from '@vmkit/core/driver'
import { DRIVER, errno, notFound, systemError } from '../errors.js'

const STALE_MS = 5000
const TOUCH_MS = 1000
const RETRY_MS = 5

/** What it uses of Node's; without this it copies all of that for every lock. */
const CALLS = { mkdirSync, rmdirSync, statSync, utimesSync, realpathSync }

/** Only who changes something needs it, and then once. */
let lockfile: Promise<typeof import('proper-lockfile')> | undefined

export interface LockTarget {
  id: string
  folder: { path: string }
}

/**
 * Runs `task` while nobody else holds the lock. Its signal also fires when the lock was lost, because this process slept too long.
 * @throws VMKitError `NOT_FOUND` when the machine is gone; `CONFLICT` when `signal` fires while somebody else holds it
 */
export async function withLock<T>(
  machine: LockTarget,
  operation: string,
  signal: AbortSignal,
  task: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const lost = new AbortController()
  const release = await acquire(machine, operation, signal, (error) => lost.abort(error))
  try {
    return await task(AbortSignal.any([signal, lost.signal]))
  } finally {
    release()
  }
}

async function acquire(machine: LockTarget, operation: string, signal: AbortSignal, onLost: (error: Error) => void): Promise<() => void> {
  lockfile ??= import('proper-lockfile')
  const { lockSync } = await lockfile
  const { path } = machine.folder
  for (;;) {
    try {
      // Each step is one quick system call: on a busy host, a trip through Node's thread pool for each takes far longer.
      const release = lockSync(path, {
        lockfilePath: join(path, 'lock'),
        fs: CALLS,
        realpath: false,
        stale: STALE_MS,
        update: TOUCH_MS,
        onCompromised: (cause) => onLost(heldByAnother(machine, operation, cause)),
      })
      return () => {
        try {
          release()
        } catch {
          // A machine that was deleted took its lock along.
        }
      }
    } catch (error) {
      if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') throw notFound(machine.id)
      if (errno(error) !== 'ELOCKED') throw systemError(error, { operation, vmId: machine.id })
    }
    if (signal.aborted) throw heldByAnother(machine, operation, signal.reason)
    // Different delays keep two from meeting again and again.
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS + Math.random() * RETRY_MS))
  }
}

function heldByAnother(machine: LockTarget, operation: string, cause: unknown): VMKitError {
  return new VMKitError('CONFLICT', `Another operation holds the machine ${machine.id}`, {
    driver: DRIVER,
    operation,
    vmId: machine.id,
    cause,
  })
}
