/** A time limit beside a signal. Not `AbortSignal.any`: Node 20 may collect the timer's signal before it fires. */
export interface Limit extends Disposable {
  readonly signal: AbortSignal
  /** Whether the time is over, and not the caller's patience. */
  isOver(): boolean
}

export function limitOf(signal: AbortSignal, ms: number): Limit {
  const controller = new AbortController()
  let isOver = false
  const follow = (): void => controller.abort(signal.reason)
  const timer = setTimeout(() => {
    isOver = true
    controller.abort(new DOMException(`nothing within ${ms} ms`, 'TimeoutError'))
  }, ms)
  if (signal.aborted) follow()
  else signal.addEventListener('abort', follow, { once: true })
  return {
    signal: controller.signal,
    isOver: () => isOver,
    [Symbol.dispose]() {
      clearTimeout(timer)
      signal.removeEventListener('abort', follow)
    },
  }
}
