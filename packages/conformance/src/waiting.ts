/** The promise, or an error that says what did not happen in time. */
export function within<T>(ms: number, what: string, promise: PromiseLike<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} did not happen within ${ms} ms`)), ms)
    promise.then(resolve, reject).then(() => clearTimeout(timer))
  })
}

const INTERVAL_MS = 15

/** Looks until the condition gives something other than false, undefined or null; returns that. */
export async function until<T>(ms: number, what: string, condition: () => Promise<T> | T): Promise<NonNullable<Exclude<T, false>>> {
  const end = performance.now() + ms
  for (;;) {
    const value = await condition()
    if (value !== undefined && value !== null && value !== false) return value as NonNullable<Exclude<T, false>>
    if (performance.now() > end) throw new Error(`${what} did not happen within ${ms} ms`)
    await pause(INTERVAL_MS)
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
