/** Who may have to wait; its signal is asked for only then. */
export interface Waiter {
  readonly signal: AbortSignal
}

/** One mutex per key, first come first served. A free key costs one map entry. */
export class KeyedLock {
  /** A key is held while it has an entry: those who wait for it. */
  readonly #waiting = new Map<string, (() => void)[]>()

  /** Runs `task` when the key is free. Stops waiting, and rejects with the signal's reason, when it fires first. */
  async run<T>(key: string, waiter: Waiter, task: () => Promise<T>): Promise<T> {
    const queue = this.#waiting.get(key)
    if (queue) await turn(queue, waiter.signal)
    else this.#waiting.set(key, [])
    try {
      return await task()
    } finally {
      const next = this.#waiting.get(key)?.shift()
      if (next) next()
      else this.#waiting.delete(key)
    }
  }
}

/** Lets at most `limit` tasks run at a time. */
export class Limiter {
  #running = 0
  readonly #limit: number
  readonly #waiting: (() => void)[] = []

  constructor(limit: number) {
    this.#limit = limit
  }

  async run<T>(waiter: Waiter, task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limit) await turn(this.#waiting, waiter.signal)
    else this.#running += 1
    try {
      return await task()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#running -= 1
    }
  }
}

/** Waits at the end of a queue until it is granted, or leaves it when `signal` fires. */
function turn(queue: (() => void)[], signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const grant = (): void => resolve(signal.removeEventListener('abort', leave))
    const leave = (): void => {
      queue.splice(queue.indexOf(grant), 1)
      reject(signal.reason)
    }
    signal.addEventListener('abort', leave, { once: true })
    queue.push(grant)
  })
}
