import { describe, expect, it } from 'vitest'
import { settled } from '../../test/fake-driver.js'
import type { VMEvent } from '../machine.js'
import { channel } from '../streams/channel.js'
import { EventBus, merge } from './events.js'

const event = (id: string): VMEvent => ({ type: 'created', driver: 'fake', id, name: id, at: 1 })
const iterate = <T>(source: AsyncIterable<T>) => source[Symbol.asyncIterator]() as Required<AsyncIterator<T>>

describe('EventBus', () => {
  it('tells every reader what happens from its subscription on', async () => {
    const bus = new EventBus()
    const controller = new AbortController()
    bus.emit(event('before'))
    const readers = [bus.subscribe(controller.signal), bus.subscribe(controller.signal)].map(iterate)
    bus.emit(event('after'))
    for (const reader of readers) expect(await reader.next()).toEqual({ done: false, value: event('after') })
    controller.abort()
    for (const reader of readers) expect((await reader.next()).done).toBe(true)
  })

  it('ends at once under a signal that has fired', async () => {
    expect((await iterate(new EventBus().subscribe(AbortSignal.abort())).next()).done).toBe(true)
  })

  it('drops a reader that falls too far behind, with an error, and no other', async () => {
    const bus = new EventBus()
    const { signal } = new AbortController()
    const slow = iterate(bus.subscribe(signal))
    for (let count = 0; count <= 10_001; count += 1) bus.emit(event(String(count)))
    let read = 0
    const error = await (async () => {
      for (;;) {
        await slow.next()
        read += 1
      }
    })().catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
    expect(read).toBe(10_000)
    const quick = iterate(bus.subscribe(signal))
    for (let count = 0; count < 10_500; count += 1) {
      bus.emit(event(String(count)))
      await quick.next()
    }
  })
})

describe('merge', () => {
  it('gives all of all, and ends when the last ends', async () => {
    const [left, right] = [channel<string>(), channel<string>()]
    const merged = iterate(merge<string>([left, right]))
    void left.write('l')
    expect((await merged.next()).value).toBe('l')
    left.end()
    void right.write('r')
    expect((await merged.next()).value).toBe('r')
    right.end()
    expect((await merged.next()).done).toBe(true)
  })

  it('ends at once when there is nothing to merge', async () => {
    expect((await iterate(merge([])).next()).done).toBe(true)
  })

  it('fails when one fails, and leaves the others', async () => {
    let left = 0
    const [bad, good] = [channel<string>(), channel<string>({ onClose: () => (left += 1) })]
    const merged = iterate(merge<string>([bad, good]))
    const pull = merged.next()
    bad.end(new Error('broken'))
    await expect(pull).rejects.toThrow('broken')
    expect(left).toBe(1)
  })

  it('leaves all when its reader leaves', async () => {
    let left = 0
    const sources = [1, 2].map(() => channel<string>({ onClose: () => (left += 1) }))
    const merged = iterate(merge(sources))
    const pull = merged.next()
    await merged.return()
    expect((await pull).done).toBe(true)
    expect(left).toBe(2)
  })

  it('takes no more from its sources than its reader does', async () => {
    let pulled = 0
    const source = {
      async *[Symbol.asyncIterator]() {
        for (;;) yield ++pulled
      },
    }
    const merged = iterate(merge([source]))
    await merged.next()
    await settled()
    expect(pulled).toBeLessThanOrEqual(3)
    await merged.return()
  })
})
