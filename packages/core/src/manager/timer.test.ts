import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { abortable, after, pause, settledWithin } from './timer.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('after', () => {
  it('fires once, also past the longest delay of a Node timer', () => {
    const task = vi.fn()
    const ms = 2 ** 31 + 5000
    after(ms, task)
    vi.advanceTimersByTime(ms - 1)
    expect(task).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1)
    expect(task).toHaveBeenCalledOnce()
  })

  it('never fires for Infinity, nor when cancelled', () => {
    const task = vi.fn()
    after(Number.POSITIVE_INFINITY, task)()
    after(10, task)()
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('pause', () => {
  it('leaves no timer and no listener behind when it is aborted', async () => {
    const controller = new AbortController()
    const paused = pause(1000, controller.signal)
    controller.abort(new Error('stop'))
    await expect(paused).rejects.toThrow('stop')
    expect(vi.getTimerCount()).toBe(0)
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
  })

  it('rejects at once when the signal has fired', async () => {
    await expect(pause(1000, AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop')
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('abortable', () => {
  it('settles like the promise', async () => {
    const { signal } = new AbortController()
    expect(await abortable(Promise.resolve(1), signal)).toBe(1)
    await expect(abortable(Promise.reject(new Error('x')), signal)).rejects.toThrow('x')
  })
})

describe('settledWithin', () => {
  it('does not wait longer, and does not reject', async () => {
    const waited = settledWithin(100, new Promise(() => {}))
    await vi.advanceTimersByTimeAsync(100)
    await waited
    await settledWithin(100, Promise.reject(new Error('x')))
    expect(vi.getTimerCount()).toBe(0)
  })
})
