/** A bounded queue between one writer and one reader: the writer waits while it is full, the reader while it is empty. */
export interface Channel<T> extends AsyncIterable<T> {
  /** Resolves `true` when there is room for the next, `false` when the reader has left. */
  write(value: T): Promise<boolean>
  /** Nothing comes after this. What is queued is still read; then the reader ends, or gets the error. */
  end(error?: unknown): void
}

export interface ChannelOptions {
  /** Entries held before `write` waits. Default 64. */
  capacity?: number
  /** Called once, when the reader leaves or has read everything. */
  onClose?: () => void
}

export function channel<T>(options: ChannelOptions = {}): Channel<T> {
  const { capacity = 64, onClose } = options
  const queue: T[] = []
  const full: (() => void)[] = []
  const waiting: { resolve: (result: IteratorResult<T>) => void; reject: (error: unknown) => void }[] = []
  let ended = false
  let failure: { error: unknown } | undefined
  let closed = false

  function close(): void {
    if (closed) return
    closed = true
    queue.length = 0
    for (const wake of full.splice(0)) wake()
    onClose?.()
  }

  function settle(): void {
    while (waiting.length > 0 && queue.length > 0) {
      waiting.shift()?.resolve({ done: false, value: queue.shift() as T })
      full.shift()?.()
    }
    if (!ended || queue.length > 0) return
    const reader = waiting.shift()
    if (!reader) return
    if (failure) {
      const { error } = failure
      failure = undefined
      reader.reject(error)
    } else {
      reader.resolve({ done: true, value: undefined })
    }
    close()
    for (const late of waiting.splice(0)) late.resolve({ done: true, value: undefined })
  }

  return {
    async write(value) {
      if (closed || ended) return false
      queue.push(value)
      settle()
      if (queue.length >= capacity && !closed) await new Promise<void>((resolve) => full.push(resolve))
      return !closed
    },
    end(error) {
      if (ended) return
      ended = true
      if (error !== undefined) failure = { error }
      settle()
    },
    [Symbol.asyncIterator]() {
      return {
        next() {
          if (closed) return Promise.resolve({ done: true, value: undefined })
          return new Promise((resolve, reject) => {
            waiting.push({ resolve, reject })
            settle()
          })
        },
        return() {
          ended = true
          close()
          for (const reader of waiting.splice(0)) reader.resolve({ done: true, value: undefined })
          return Promise.resolve({ done: true, value: undefined })
        },
      }
    },
  }
}
