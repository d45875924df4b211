import { expect, it } from 'vitest'
import { fakeClock, realClock } from './clock.js'

it('stands still until it is advanced', async () => {
  const clock = fakeClock(1000)
  let woke = false
  void clock.sleep(50).then(() => {
    woke = true
  })
  await clock.advance(49)
  expect([clock.now(), woke]).toEqual([1049, false])
  await clock.advance(1)
  expect([clock.now(), woke]).toEqual([1050, true])
})

it('wakes sleepers in the order of their times, at their times', async () => {
  const clock = fakeClock()
  const seen: [string, number][] = []
  const sleeper = async (name: string, ms: number): Promise<void> => {
    await clock.sleep(ms)
    seen.push([name, clock.now()])
    await clock.sleep(ms)
    seen.push([name, clock.now()])
  }
  void sleeper('slow', 30)
  void sleeper('fast', 10)
  await clock.advance(100)
  expect(seen).toEqual([
    ['fast', 10],
    ['fast', 20],
    ['slow', 30],
    ['slow', 60],
  ])
})

it.each([
  ['the fake clock', fakeClock()],
  ['the real clock', realClock],
])('%s gives up a sleep when the signal fires', async (_name, clock) => {
  const controller = new AbortController()
  const sleeping = clock.sleep(1_000_000, controller.signal)
  controller.abort(new Error('enough'))
  await expect(sleeping).rejects.toThrow('enough')
  await expect(clock.sleep(1, controller.signal)).rejects.toThrow('enough')
})
