// Node fires a timer with a longer delay at once.
const LONGEST_DELAY_MS = 2 ** 31 - 1

/** Runs `task` after any number of milliseconds, `Infinity` for never. Returns what cancels it. */
export function after(ms: number, task: () => void, { keepAlive = true }: { keepAlive?: boolean } = {}): () => void {
  let timer: NodeJS.Timeout | undefined
  const arm = (left: number): void => {
    const step = Math.min(left, LONGEST_DELAY_MS)
    timer = setTimeout(() => (left > step ? arm(left - step) : task()), step)
    if (!keepAlive) timer.unref()
  }
  if (ms !== Number.POSITIVE_INFINITY) arm(ms)
  return () => clearTimeout(timer)
}

/** Settles like `promise`, or rejects with the signal's reason when that fires first. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

/** Waits, or rejects with the signal's reason when that fires first. Leaves no timer behind. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  let cancel = (): void => {}
  const elapsed = new Promise<void>((resolve) => {
    cancel = after(ms, resolve)
  })
  return abortable(elapsed, signal).finally(cancel)
}

/** Waits for `promise` to settle, but no longer than `ms`. Never rejects. */
export async function settledWithin(ms: number, promise: Promise<unknown>): Promise<void> {
  let cancel = (): void => {}
  const elapsed = new Promise<void>((resolve) => {
    cancel = after(ms, resolve)
  })
  await Promise.race([promise.catch(() => {}), elapsed])
  cancel()
}
