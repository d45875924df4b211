/** A stretch without a turn counts as long as this, unless this process used the processor for longer. */
const MOST_IDLE_MS = 20
const TURN_MS = 10

/** Measures until it is disposed of. */
export interface GivenTime extends Disposable {
  /** Milliseconds since it was made. */
  ms(): number
}

/**
 * The time that this process was given. What a call takes because the host lets nobody run for three seconds is not the driver's; what a
 * driver waits for, or computes, is counted in full.
 */
export function givenTime(): GivenTime {
  let total = 0
  let lastAt = performance.now()
  let lastUsed = used()
  const turn = (): void => {
    const [now, nowUsed] = [performance.now(), used()]
    total += Math.min(now - lastAt, Math.max(MOST_IDLE_MS, nowUsed - lastUsed))
    lastAt = now
    lastUsed = nowUsed
  }
  const timer = setInterval(turn, TURN_MS)
  return {
    ms() {
      turn()
      return total
    },
    [Symbol.dispose]: () => clearInterval(timer),
  }
}

/** Milliseconds of processor time of this process. */
function used(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
