import { type FSWatcher, watch } from 'node:fs'

/** Changes of a folder, one at a time, for readers that follow it. */
export interface Changes {
  /** Resolves at the next change, after the poll time, or when `signal` fires. What changed since the last call counts. */
  next(signal: AbortSignal): Promise<void>
  close(): void
}

/** Where the host has no inotify watch left, polling alone. */
const BLIND_POLL_MS = 50

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
    // polled
  }
  return {
    async next(signal) {
      if (!changed && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(done, watcher ? pollMs : BLIND_POLL_MS)
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
