import { describe, expect, it } from 'vitest'
import { comparePairs, estimate, median, seededRandom } from './stats.js'

/** A long tail, as times have it; its median is ln 2. */
const exponential = (random: () => number): number => -Math.log(1 - random())

describe('median', () => {
  it('is the middle value, whatever the order', () => {
    expect(median([30, 1, 2])).toBe(2)
    expect(median([10, 1, 3, 2])).toBe(2.5)
    expect(median([7])).toBe(7)
    expect(median([])).toBeNaN()
  })

  it('leaves its input as it is', () => {
    const values = [3, 1, 2]
    median(values)
    expect(values).toEqual([3, 1, 2])
  })
})

describe('estimate', () => {
  it('says the same twice', () => {
    const random = seededRandom(5)
    const values = Array.from({ length: 60 }, () => exponential(random))
    expect(estimate(values, seededRandom(1))).toEqual(estimate(values, seededRandom(1)))
  })

  it('holds the true median in about 95 of 100 cases', () => {
    const random = seededRandom(42)
    const cases = 400
    let held = 0
    for (let index = 0; index < cases; index += 1) {
      const { low, high } = estimate(
        Array.from({ length: 60 }, () => exponential(random)),
        random,
      )
      if (low <= Math.LN2 && Math.LN2 <= high) held += 1
    }
    expect(held / cases).toBeGreaterThan(0.92)
    expect(held / cases).toBeLessThan(0.985)
  })

  it('has no width without noise', () => {
    expect(estimate([4, 4, 4, 4], seededRandom(1))).toEqual({ median: 4, low: 4, high: 4 })
  })
})

describe('comparePairs', () => {
  it('finds a small constant difference below a drift that hides it in the medians', () => {
    const random = seededRandom(3)
    const drift = Array.from({ length: 60 }, (_, index) => 100 + index * 10)
    const theirs = drift.map((base) => base + random())
    const ours = drift.map((base) => base + 5 + random())
    const { difference, ratio } = comparePairs(ours, theirs, seededRandom(1))
    expect(difference.low).toBeGreaterThan(4.5)
    expect(difference.high).toBeLessThan(5.5)
    expect(ratio.median).toBeGreaterThan(1)
  })

  it('sees no difference where there is none', () => {
    const random = seededRandom(8)
    const sample = (): number[] => Array.from({ length: 60 }, () => exponential(random))
    const { difference } = comparePairs(sample(), sample(), seededRandom(1))
    expect(difference.low).toBeLessThan(0)
    expect(difference.high).toBeGreaterThan(0)
  })

  it('refuses samples that are no pairs', () => {
    expect(() => comparePairs([1, 2], [1], seededRandom(1))).toThrow('got 2 and 1')
  })
})

describe('seededRandom', () => {
  it('is even enough to draw with', () => {
    const random = seededRandom(9)
    const counts = new Array<number>(10).fill(0)
    for (let index = 0; index < 10_000; index += 1) {
      const slot = Math.floor(random() * 10)
      counts[slot] = (counts[slot] ?? 0) + 1
    }
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150)
  })
})
