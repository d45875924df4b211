import { describe, expect, it } from 'vitest'
import { settled } from '../../test/fake-driver.js'
import { channel } from './channel.js'

const iterate = <T>(source: AsyncIterable<T>) => source[Symbol.asyncIterator]() as Required<AsyncIterator<T>>

describe('channel', () => {
  it('gives what was written, in order, then ends', async () => {
    const queue = channel<number>()
    for (const value of [1, 2, 3]) await queue.write(value)
    queue.end()
    const seen: number[] = []
    for await (const value of queue) seen.push(value)
    expect(seen).toEqual([1, 2, 3])
  })

  it('makes the writer wait while it is full', async () => {
    const queue = channel<number>({ capacity: 2 })
    expect(await queue.write(1)).toBe(true)
    let written = false
    const second = queue.write(2).then((more) => {
      written = true
      return more
    })
    await settled()
    expect(written).toBe(false)
    await iterate(queue).next()
    expect(await second).toBe(true)
  })

  it('gives several waiting readers one value each', async () => {
    const queue = channel<number>()
    const reader = iterate(queue)
    const pulls = [reader.next(), reader.next(), reader.next()]
    await queue.write(1)
    await queue.write(2)
    queue.end()
    expect(await Promise.all(pulls)).toEqual([
      { done: false, value: 1 },
      { done: false, value: 2 },
      { done: true, value: undefined },
    ])
  })

  it('gives what is queued before the error, and the error once', async () => {
    const queue = channel<number>()
    await queue.write(1)
    queue.end(new Error('broken'))
    queue.end(new Error('later'))
    const reader = iterate(queue)
    expect(await reader.next()).toEqual({ done: false, value: 1 })
    await expect(reader.next()).rejects.toThrow('broken')
    expect(await reader.next()).toEqual({ done: true, value: undefined })
  })

  it('tells writers that the reader has left, also those that wait', async () => {
    let closed = 0
    const queue = channel<number>({ capacity: 1, onClose: () => (closed += 1) })
    const reader = iterate(queue)
    const waiting = queue.write(1)
    await reader.return()
    await reader.return()
    expect(await waiting).toBe(false)
    expect(await queue.write(2)).toBe(false)
    expect(closed).toBe(1)
    expect(await reader.next()).toEqual({ done: true, value: undefined })
  })

  it('ends a waiting pull when the reader leaves', async () => {
    const reader = iterate(channel<number>())
    const pull = reader.next()
    await reader.return()
    expect(await pull).toEqual({ done: true, value: undefined })
  })

  it('takes nothing after its end, and closes when all is read', async () => {
    let closed = 0
    const queue = channel<number>({ onClose: () => (closed += 1) })
    queue.end()
    expect(await queue.write(1)).toBe(false)
    expect(await iterate(queue).next()).toEqual({ done: true, value: undefined })
    expect(closed).toBe(1)
  })
})
