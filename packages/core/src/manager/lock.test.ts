import { describe, expect, it } from 'vitest'
import { settled } from '../../test/fake-driver.js'
import { KeyedLock, Limiter } from './lock.js'

const never = new AbortController()

function gate(): { open: () => void; opened: Promise<void> } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

describe('KeyedLock', () => {
  it('runs tasks of one key in turn, of two keys at once', async () => {
    const lock = new KeyedLock()
    const order: string[] = []
    const { open, opened } = gate()
    const first = lock.run('a', never, async () => {
      order.push('a1')
      await opened
    })
    const second = lock.run('a', never, async () => void order.push('a2'))
    const other = lock.run('b', never, async () => void order.push('b'))
    await other
    expect(order).toEqual(['a1', 'b'])
    open()
    await Promise.all([first, second])
    expect(order).toEqual(['a1', 'b', 'a2'])
  })

  it('is free again after a failure', async () => {
    const lock = new KeyedLock()
    await expect(lock.run('a', never, () => Promise.reject(new Error('x')))).rejects.toThrow('x')
    expect(await lock.run('a', never, async () => 1)).toBe(1)
  })

  it('lets one who waits leave, without losing those behind', async () => {
    const lock = new KeyedLock()
    const { open, opened } = gate()
    const first = lock.run('a', never, () => opened)
    const controller = new AbortController()
    let ran = false
    const second = lock.run('a', controller, async () => {
      ran = true
    })
    const third = lock.run('a', never, async () => 3)
    controller.abort(new Error('left'))
    await expect(second).rejects.toThrow('left')
    open()
    await first
    expect(await third).toBe(3)
    expect(ran).toBe(false)
  })

  it('does not queue one whose signal has fired', async () => {
    const lock = new KeyedLock()
    const { open, opened } = gate()
    const first = lock.run('a', never, () => opened)
    await expect(lock.run('a', { signal: AbortSignal.abort(new Error('gone')) }, async () => {})).rejects.toThrow('gone')
    open()
    await first
  })
})

describe('Limiter', () => {
  it('runs so many at a time', async () => {
    const limiter = new Limiter(2)
    const gates = [gate(), gate(), gate()]
    let running = 0
    let most = 0
    const runs = gates.map(({ opened }) =>
      limiter.run(never, async () => {
        running += 1
        most = Math.max(most, running)
        await opened
        running -= 1
      }),
    )
    await settled()
    expect(running).toBe(2)
    for (const { open } of gates) open()
    await Promise.all(runs)
    expect(most).toBe(2)
  })

  it('gives the place of one who leaves, or fails, to the next', async () => {
    const limiter = new Limiter(1)
    const { open, opened } = gate()
    const first = limiter.run(never, async () => {
      await opened
      throw new Error('failed')
    })
    const controller = new AbortController()
    const second = limiter.run(controller, async () => 2)
    const third = limiter.run(never, async () => 3)
    controller.abort(new Error('left'))
    await expect(second).rejects.toThrow('left')
    open()
    await expect(first).rejects.toThrow('failed')
    expect(await third).toBe(3)
    expect(await limiter.run(never, async () => 4)).toBe(4)
  })
})
