import { type FSWatcher, watch } from 'node:fs'

/** How often a folder is looked at that cannot be watched, in milliseconds. */
const BLIND_UNTIL_MS = 20
const BLIND_CHANGES_MS = 50

/**
 * Runs `look` now, after a file of the folder whose name starts with `prefix` has changed, and every `pollMs`, until it
 * returns something. The poll sees what no file tells: a process that was killed.
 */
export function untilChange<T>(folder: string, signal: AbortSignal, pollMs: number, look: () => T | undefined, prefix = ''): Promise<T> {
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
    // Often it has happened already, and a watch costs more than a look.
    if (check()) return
    watcher = tryWatch(folder, (name) => {
      if (name === null || name.startsWith(prefix)) check()
    })
    // After the watch: what happens in between is seen by it.
    if (check()) return
    signal.addEventListener('abort', onAbort, { once: true })
    timer = setInterval(check, watcher ? pollMs : Math.min(pollMs, BLIND_UNTIL_MS))
  })
}

/** Changes of folders, one at a time, for readers that follow them. */
export interface Changes {
  /** Follows one more folder, until the function that it returns is called. */
  add(folder: string): () => void
  /** Resolves at the next change, after the poll time, or when `signal` fires. What changed since the last call counts. */
  next(signal: AbortSignal): Promise<void>
  close(): void
}

export function changes(folder: string, pollMs: number): Changes {
  const watchers = new Set<FSWatcher>()
  let changed = false
  let isBlind = false
  let wake = (): void => {}

  function add(path: string): () => void {
    const watcher = tryWatch(path, () => {
      changed = true
      wake()
    })
    if (watcher) watchers.add(watcher)
    else isBlind = true
    return () => {
      watcher?.close()
      if (watcher) watchers.delete(watcher)
    }
  }

  add(folder)
  return {
    add,
    async next(signal) {
      if (!changed && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(done, isBlind ? Math.min(pollMs, BLIND_CHANGES_MS) : pollMs)
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
      for (const watcher of watchers) watcher.close()
      watchers.clear()
      wake()
    },
  }
}

/** `undefined` when there is no inotify watch to be had, or the folder is gone: then only the poll finds out. */
function tryWatch(folder: string, onChange: (name: string | null) => void): FSWatcher | undefined {
  try {
    const watcher = watch(folder, (_event, name) => onChange(name))
    watcher.on('error', () => watcher.close())
    return watcher
  } catch {
    return undefined
  }
}
