/** A time limit beside the signal of a call. */
export interface Limit extends Disposable {
  /** Aborted with the call, or with a `TimeoutError` when the time is over. */
  readonly signal: AbortSignal
  /** Whether the time is over, and not the caller's patience. */
  isOver(): boolean
}

const LONGEST_TIMER_MS = 2 ** 31 - 1

/** Instead of `AbortSignal.any` with `AbortSignal.timeout`: Node 20 may collect the timeout as garbage, and then it never fires. */
export function limitOf(signal: AbortSignal | undefined, ms: number): Limit {
  const controller = new AbortController()
  let isOver = false
  const follow = (): void => controller.abort(signal?.reason)
  const timer = setTimeout(
    () => {
      isOver = !controller.signal.aborted
      controller.abort(new DOMException(`nothing within ${ms} ms`, 'TimeoutError'))
    },
    Math.min(ms, LONGEST_TIMER_MS),
  )
  if (signal?.aborted) follow()
  else signal?.addEventListener('abort', follow, { once: true })
  return {
    signal: controller.signal,
    isOver: () => isOver,
    [Symbol.dispose]() {
      clearTimeout(timer)
      signal?.removeEventListener('abort', follow)
    },
  }
}
