import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { untilAborted } from '../../test/fake-driver.js'
import type { CallContext } from '../driver.js'
import { VMKitError } from '../errors.js'
import { ABANDON_AFTER_MS, type Call, operationChannel, runOperation, runStream, type StreamCall } from './operation.js'

const info = { driver: 'fake', operation: 'test', vmId: 'id' }
const forever = { timeoutMs: Number.POSITIVE_INFINITY }

afterEach(() => void vi.useRealTimers())

describe('runOperation', () => {
  beforeEach(() => void vi.useFakeTimers())

  it('resolves with the value, and leaves no timer and no listener', async () => {
    const { signal } = new AbortController()
    expect(await runOperation(info, { signal, timeoutMs: 1000 }, async () => 1)).toBe(1)
    expect(vi.getTimerCount()).toBe(0)
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  it('tells the driver the deadline', async () => {
    vi.setSystemTime(1000)
    const seen: (number | undefined)[] = []
    const run = async ({ deadline }: CallContext) => void seen.push(deadline)
    await runOperation(info, { timeoutMs: 500 }, run)
    await runOperation(info, forever, run)
    expect(seen).toEqual([1500, undefined])
  })

  it('wraps what is no VMKitError, and adds context to what is', async () => {
    const bug = new TypeError('bug')
    await expect(runOperation(info, forever, () => Promise.reject(bug))).rejects.toMatchObject({
      code: 'BACKEND_ERROR',
      cause: bug,
      ...info,
    })
    const own = new VMKitError('CONFLICT', 'taken', { driver: 'mine' })
    await expect(runOperation(info, forever, () => Promise.reject(own))).rejects.toMatchObject({
      code: 'CONFLICT',
      driver: 'mine',
      vmId: 'id',
    })
    const sync = (): never => {
      throw bug
    }
    await expect(runOperation(info, forever, sync)).rejects.toMatchObject({ code: 'BACKEND_ERROR' })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('does not begin when the signal has fired', async () => {
    const run = vi.fn()
    await expect(runOperation(info, { ...forever, signal: AbortSignal.abort('why') }, run)).rejects.toMatchObject({
      code: 'ABORTED',
      message: 'test was aborted: why',
    })
    expect(run).not.toHaveBeenCalled()
  })

  it('passes an abort on, and rejects once the driver has cleaned up', async () => {
    const controller = new AbortController()
    let cleaned = false
    const running = runOperation(info, { ...forever, signal: controller.signal }, async (ctx) => {
      await untilAborted(ctx).catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, 100))
      cleaned = true
      throw new Error('what the driver says does not matter')
    })
    const failed = expect(running).rejects.toMatchObject({ code: 'ABORTED', cause: 'enough' })
    controller.abort('enough')
    await vi.advanceTimersByTimeAsync(100)
    await failed
    expect(cleaned).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('times out', async () => {
    const running = runOperation(info, { timeoutMs: 500 }, untilAborted)
    const failed = expect(running).rejects.toMatchObject({ code: 'TIMEOUT', message: expect.stringContaining('500 ms') })
    await vi.advanceTimersByTimeAsync(500)
    await failed
  })

  it('gives up on a driver that ignores the abort, and hears of its late result', async () => {
    let finish = (_value: number): void => {}
    const onLateResult = vi.fn()
    const controller = new AbortController()
    const driver = () => new Promise<number>((resolve) => (finish = resolve))
    const running = runOperation(info, { ...forever, signal: controller.signal }, driver, { onLateResult })
    let rejected = false
    running.catch(() => (rejected = true))
    controller.abort()
    await vi.advanceTimersByTimeAsync(ABANDON_AFTER_MS - 1)
    expect(rejected).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    expect(rejected).toBe(true)
    finish(7)
    await vi.advanceTimersByTimeAsync(0)
    expect(onLateResult).toHaveBeenCalledExactlyOnceWith(7)
  })

  it('treats a result that comes right after the abort as late', async () => {
    const onLateResult = vi.fn()
    let call: Call | undefined
    const driver = async (): Promise<number> => {
      call?.abort(new VMKitError('ABORTED', 'x'))
      return 7
    }
    const running = runOperation(info, forever, driver, {
      onLateResult,
      onCall: (started) => (call = started),
    })
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' })
    expect(onLateResult).toHaveBeenCalledExactlyOnceWith(7)
  })

  it('keeps the first of two reasons to end', async () => {
    const controller = new AbortController()
    const running = runOperation(info, { timeoutMs: 500, signal: controller.signal }, () => new Promise(() => {}))
    const failed = expect(running).rejects.toMatchObject({ code: 'TIMEOUT' })
    await vi.advanceTimersByTimeAsync(500)
    controller.abort()
    await vi.advanceTimersByTimeAsync(ABANDON_AFTER_MS)
    await failed
  })

  it('reports progress, and survives a listener that throws', async () => {
    const onProgress = vi.fn(() => {
      throw new Error('listener')
    })
    await runOperation(info, { ...forever, onProgress }, async (ctx) => ctx.report({ phase: 'pull' }))
    expect(onProgress).toHaveBeenCalledExactlyOnceWith({ phase: 'pull' })
  })

  it('is traced while somebody listens, with data of its own', async () => {
    const seen: string[] = []
    const listener = (name: string) => (message: object) => void seen.push(`${name} ${'error' in message} ${'result' in message}`)
    const subscribers = {
      start: listener('start'),
      end: listener('end'),
      asyncStart: listener('asyncStart'),
      asyncEnd: listener('asyncEnd'),
      error: listener('error'),
    }
    const quiet = { ...info }
    expect(operationChannel.hasSubscribers).toBe(false)
    operationChannel.subscribe(subscribers)
    try {
      await runOperation(quiet, forever, async () => 1)
      await runOperation(quiet, forever, () => Promise.reject(new Error('x'))).catch(() => {})
    } finally {
      operationChannel.unsubscribe(subscribers)
    }
    expect(seen.map((line) => line.split(' ')[0])).toEqual([
      'start',
      'end',
      'asyncStart',
      'asyncEnd',
      'start',
      'end',
      'error',
      'asyncStart',
      'asyncEnd',
    ])
    expect(quiet).toEqual(info)
    await runOperation(info, forever, async () => 1)
    expect(seen).toHaveLength(9)
  })
})

describe('runStream', () => {
  interface Probe {
    opened: number
    forgotten: number
    returned: boolean
    signal?: AbortSignal
    call?: StreamCall
  }
  /** A stream of the numbers from 1, and what happened to it. */
  function numbers(last: number, then: (ctx: CallContext) => Promise<unknown> = async () => {}, signal?: AbortSignal) {
    const probe: Probe = { opened: 0, forgotten: 0, returned: false }
    const open = async function* (ctx: CallContext): AsyncGenerator<number> {
      probe.opened += 1
      probe.signal = ctx.signal
      try {
        for (let number = 1; number <= last; number += 1) yield number
        await then(ctx)
      } finally {
        probe.returned = true
      }
    }
    const stream = runStream(info, signal, open, (call) => {
      probe.call = call
      return () => (probe.forgotten += 1)
    }) as Required<AsyncIterableIterator<number>>
    return { stream, probe }
  }
  const END = { done: true, value: undefined }

  it('opens at the first pull and forgets at the end', async () => {
    const { stream, probe } = numbers(2)
    expect(probe.opened).toBe(0)
    const seen: number[] = []
    for await (const value of stream) seen.push(value)
    expect(seen).toEqual([1, 2])
    expect(probe).toMatchObject({ opened: 1, forgotten: 1, returned: true })
    expect(await stream.next()).toEqual(END)
    expect(await stream.return()).toEqual(END)
  })

  it('does not open when the reader leaves first', async () => {
    const { stream, probe } = numbers(1)
    expect(await stream.return()).toEqual(END)
    expect(await stream.next()).toEqual(END)
    expect(probe.opened).toBe(0)
  })

  it('does not open when the signal has fired, and says so once', async () => {
    const { stream, probe } = numbers(1, undefined, AbortSignal.abort('no'))
    await expect(stream.next()).rejects.toMatchObject({ code: 'ABORTED' })
    expect(await stream.next()).toEqual(END)
    expect(probe.opened).toBe(0)
  })

  it('frees the driver when the reader leaves the loop', async () => {
    const controller = new AbortController()
    const { stream, probe } = numbers(2, untilAborted, controller.signal)
    for await (const _ of stream) break
    expect(probe).toMatchObject({ forgotten: 1, returned: true })
    expect(probe.signal?.aborted).toBe(true)
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
  })

  it('frees the driver when the reader leaves while a pull is waiting', async () => {
    const { stream, probe } = numbers(0, untilAborted)
    const pull = stream.next()
    await stream.return()
    expect(await pull).toEqual(END)
    expect(probe.returned).toBe(true)
  })

  it('fails a waiting pull on abort, and frees the driver first', async () => {
    const controller = new AbortController()
    const { stream, probe } = numbers(0, untilAborted, controller.signal)
    const pull = stream.next()
    controller.abort('enough')
    await expect(pull).rejects.toMatchObject({ code: 'ABORTED', vmId: 'id' })
    expect(probe).toMatchObject({ forgotten: 1, returned: true })
    expect(await stream.next()).toEqual(END)
  })

  it('frees the driver on abort also when nobody pulls', async () => {
    const controller = new AbortController()
    const { stream, probe } = numbers(2, untilAborted, controller.signal)
    await stream.next()
    controller.abort()
    await vi.waitFor(() => expect(probe.returned).toBe(true))
    await expect(stream.next()).rejects.toMatchObject({ code: 'ABORTED' })
  })

  it('can be ended from outside, with an error or without', async () => {
    const quiet = numbers(0, untilAborted)
    const first = quiet.stream.next()
    quiet.probe.call?.end()
    expect(await first).toEqual(END)
    const draining = numbers(3, untilAborted)
    await draining.stream.next()
    draining.probe.call?.end()
    expect(await draining.stream.next()).toEqual({ done: false, value: 2 })
    expect(await draining.stream.next()).toEqual({ done: false, value: 3 })
    expect(await draining.stream.next()).toEqual(END)
    expect(draining.probe.forgotten).toBe(1)
    const loud = numbers(0, untilAborted)
    const second = loud.stream.next()
    loud.probe.call?.abort(new VMKitError('ABORTED', 'closed'))
    await expect(second).rejects.toThrow('closed')
  })

  it('passes an error of the driver on, as a VMKitError, once', async () => {
    const { stream, probe } = numbers(1, () => Promise.reject(new Error('backend')))
    await stream.next()
    await expect(stream.next()).rejects.toMatchObject({ code: 'BACKEND_ERROR', message: 'backend', operation: 'test' })
    expect(await stream.next()).toEqual(END)
    expect(probe.forgotten).toBe(1)
  })

  it('passes on what opening throws', async () => {
    const open = (): never => {
      throw new VMKitError('NOT_FOUND', 'gone')
    }
    const stream = runStream(info, undefined, open, () => () => {})
    await expect(stream.next()).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('does not hang with a driver that hangs in its clean-up', async () => {
    vi.useFakeTimers()
    const { stream } = numbers(0, () => new Promise(() => {}))
    const pull = stream.next()
    const left = stream.return()
    await vi.advanceTimersByTimeAsync(ABANDON_AFTER_MS)
    expect(await left).toEqual(END)
    expect(await pull).toEqual(END)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('survives a driver that throws in its clean-up', async () => {
    const iterator = { next: () => new Promise<never>(() => {}), return: () => Promise.reject(new Error('clean-up')) }
    const stream = runStream(
      info,
      undefined,
      () => ({ [Symbol.asyncIterator]: () => iterator }),
      () => () => {},
    ) as Required<AsyncIterableIterator<never>>
    const pull = stream.next()
    expect(await stream.return()).toEqual(END)
    expect(await pull).toEqual(END)
  })

  it('is traced while it opens', async () => {
    const start = vi.fn()
    operationChannel.subscribe({ start } as never)
    try {
      for await (const _ of numbers(1).stream);
    } finally {
      operationChannel.unsubscribe({ start } as never)
    }
    expect(start).toHaveBeenCalledOnce()
  })
})
