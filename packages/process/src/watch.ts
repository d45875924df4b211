import { type FSWatcher, watch } from 'node:fs'

/**
 * Runs `look` now, after a file whose name starts with `prefix` has changed, and every `pollMs`, until it returns something.
 * The poll sees what no file tells: a process that was killed.
 */
export function untilChange<T>(folder: string, prefix: string, signal: AbortSignal, pollMs: number, look: () => T | undefined): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let watcher: FSWatcher | undefined
    let timer: NodeJS.Timeout | undefined
    const finish = (settle: () => void): void => {
      watcher?.close()
      clearInterval(timer)
      signal.removeEventListener('abort', onAbort)
      settle()
    }
    const onAbort = (): void => finish(() => reject(signal.reason))
    const check = (): boolean => {
      try {
        const found = look()
        if (found === undefined) return false
        finish(() => resolve(found))
      } catch (error) {
        finish(() => reject(error))
      }
      return true
    }
    if (signal.aborted) return reject(signal.reason)
    try {
      watcher = watch(folder, (_event, name) => {
        if (name === null || name.startsWith(prefix)) check()
      })
      watcher.on('error', () => watcher?.close())
    } catch {
      // No inotify watch to be had, or the folder is gone: the poll finds out.
    }
    // After the watch: what happens in between is seen by it.
    if (check()) return
    signal.addEventListener('abort', onAbort, { once: true })
    timer = setInterval(check, watcher ? pollMs : Math.min(pollMs, 20))
  })
}

/** Changes of a folder, one at a time, for readers that follow it. */
export interface Changes {
  /** Resolves at the next change, after the poll time, or when `signal` fires. What changed since the last call counts. */
  next(signal: AbortSignal): Promise<void>
  close(): void
}

export function changes(folder: string, pollMs: number): Changes {
  let changed = false
  let wake = (): void => {}
  let watcher: FSWatcher | undefined
  try {
    watcher = watch(folder, () => {
      changed = true
      wake()
    })
    watcher.on('error', () => watcher?.close())
  } catch {
    // No inotify watch to be had: the poll finds out.
  }
  return {
    async next(signal) {
      if (!changed && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(done, watcher ? pollMs : Math.min(pollMs, 50))
          function done(): void {
            clearTimeout(timer)
            signal.removeEventListener('abort', done)
            resolve()
          }
          wake = done
          signal.addEventListener('abort', done, { once: true })
        })
      }
      changed = false
    },
    close() {
      watcher?.close()
      wake()
    },
  }
}
