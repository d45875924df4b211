import { expect, it } from 'vitest'
import { fakeClock } from './clock.js'
import { Weather } from './faults.js'

const never = new AbortController().signal

it('strikes the nth call, so many times, and no other operation', async () => {
  const weather = new Weather(fakeClock(), 0, 1)
  weather.inject({ operation: 'start', nth: 3, times: 2, error: 'BACKEND_ERROR' })
  const outcomes: string[] = []
  for (let call = 1; call <= 6; call += 1) {
    await weather.strike('stop', never)
    outcomes.push(
      await weather.strike('start', never).then(
        () => 'fine',
        (error: { code: string }) => error.code,
      ),
    )
  }
  expect(outcomes).toEqual(['fine', 'fine', 'BACKEND_ERROR', 'BACKEND_ERROR', 'fine', 'fine'])
})

it('draws the same latencies for the same seed, within the range', async () => {
  const draw = async (seed: number): Promise<number[]> => {
    const clock = fakeClock()
    const weather = new Weather(clock, { min: 10, max: 20 }, seed)
    const taken: number[] = []
    for (let call = 0; call < 20; call += 1) {
      const before = clock.now()
      const striking = weather.strike('list', never).then(() => taken.push(clock.now() - before))
      await clock.advance(20)
      await striking
    }
    return taken
  }
  const first = await draw(7)
  expect(first).toEqual(await draw(7))
  expect(first).not.toEqual(await draw(8))
  expect(first.every((ms) => ms >= 10 && ms <= 20)).toBe(true)
})

it('hangs until it is aborted when the delay is infinite', async () => {
  const controller = new AbortController()
  const weather = new Weather(fakeClock(), 0, 1)
  weather.inject({ operation: 'create', delayMs: Number.POSITIVE_INFINITY })
  const hanging = weather.strike('create', controller.signal)
  controller.abort(new Error('enough'))
  await expect(hanging).rejects.toThrow('enough')
})
