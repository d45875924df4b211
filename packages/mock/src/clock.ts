/** Time as the mock sees it. `sleep` rejects with the signal's reason when it fires first. */
export interface Clock {
  now(): number
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** A clock that stands still until it is told to move. */
export interface FakeClock extends Clock {
  /** Moves time on, waking sleepers in the order of their times, each before the next one's time comes. */
  advance(ms: number): Promise<void>
}

export const realClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) =>
    sleeper(signal, (wake) => {
      const timer = setTimeout(wake, ms)
      return () => clearTimeout(timer)
    }),
}

/** A fake clock that starts at `start`, epoch milliseconds. */
export function fakeClock(start = 0): FakeClock {
  let now = start
  const sleepers = new Set<{ at: number; wake: () => void }>()

  return {
    now: () => now,
    sleep: (ms, signal) =>
      sleeper(signal, (wake) => {
        const entry = { at: now + ms, wake }
        sleepers.add(entry)
        return () => sleepers.delete(entry)
      }),
    async advance(ms) {
      const end = now + ms
      for (;;) {
        await settled()
        const next = [...sleepers].sort((a, b) => a.at - b.at)[0]
        if (!next || next.at > end) break
        now = Math.max(now, next.at)
        sleepers.delete(next)
        next.wake()
      }
      now = end
      await settled()
    },
  }
}

function sleeper(signal: AbortSignal | undefined, schedule: (wake: () => void) => () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = (): void => {
      cancel()
      reject(signal?.reason)
    }
    const cancel = schedule(() => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** Lets everything run that is ready to: what a sleeper does after waking must be done before time moves on. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
