import { VMKitError } from '../errors.js'
import type { VMEvent } from '../machine.js'
import { type Channel, channel } from '../streams/channel.js'

const MOST_QUEUED = 10_000

/** Events of a driver whose backend has none: what this manager itself did. */
export class EventBus {
  readonly #readers = new Set<{ queue: Channel<VMEvent>; queued: number }>()

  emit(event: VMEvent): void {
    for (const reader of this.#readers) {
      reader.queued += 1
      if (reader.queued > MOST_QUEUED) {
        this.#readers.delete(reader)
        reader.queue.end(
          new VMKitError('RESOURCE_EXHAUSTED', `The reader of events is more than ${MOST_QUEUED} events behind`, { driver: event.driver }),
        )
      } else {
        void reader.queue.write(event)
      }
    }
  }

  /** Live from this call on. */
  subscribe(signal: AbortSignal): AsyncIterable<VMEvent> {
    const reader = { queue: channel<VMEvent>({ capacity: MOST_QUEUED + 1, onClose: () => this.#readers.delete(reader) }), queued: 0 }
    this.#readers.add(reader)
    if (signal.aborted) reader.queue.end()
    signal.addEventListener('abort', () => reader.queue.end(), { once: true })
    return counted(reader)
  }
}

async function* counted(reader: { queue: Channel<VMEvent>; queued: number }): AsyncGenerator<VMEvent> {
  for await (const event of reader.queue) {
    reader.queued -= 1
    yield event
  }
}

/** Several streams as one, in the order in which things come. Fails when one fails, and then ends the others. */
export function merge<T>(sources: AsyncIterable<T>[]): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterators = sources.map((source) => source[Symbol.asyncIterator]())
      const merged = channel<T>({ capacity: 1, onClose: () => iterators.map((iterator) => iterator.return?.().catch(() => {})) })
      let open = iterators.length
      if (open === 0) merged.end()
      for (const iterator of iterators) {
        void (async () => {
          try {
            for (let result = await iterator.next(); !result.done; result = await iterator.next()) {
              if (!(await merged.write(result.value))) return
            }
            open -= 1
            if (open === 0) merged.end()
          } catch (error) {
            merged.end(error)
          }
        })()
      }
      return merged[Symbol.asyncIterator]()
    },
  }
}
