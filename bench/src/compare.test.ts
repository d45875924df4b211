import { describe, expect, it } from 'vitest'
import { compare, judge } from './compare.js'
import type { PairedEstimates } from './stats.js'

const estimates = (low: number, high: number): PairedEstimates => {
  const estimate = { low, high, median: (low + high) / 2 }
  return { value: estimate, difference: estimate, ratio: estimate }
}

describe('judge', () => {
  it('fails only what lies above the bar as a whole', () => {
    expect(judge({ on: 'difference', most: 20 }, estimates(5, 19))).toBe('ok')
    expect(judge({ on: 'difference', most: 20 }, estimates(15, 30))).toBe('noise')
    expect(judge({ on: 'difference', most: 20 }, estimates(21, 30))).toBe('over')
  })

  it('counts the bar itself as reached', () => {
    expect(judge({ on: 'value', most: 20 }, estimates(20, 20))).toBe('ok')
  })
})

describe('compare', () => {
  const bar = { on: 'difference', most: 5 } as const
  const shared = { what: 'a', against: 'b', kind: 'memory', unit: 'bytes', theirs: () => 10, bar } as const

  it('measures ours, theirs, and ours again', async () => {
    let calls = 0
    const row = await compare({ ...shared, ours: () => 30 + (calls++ % 2) }, false)
    expect(row.verdict).toBe('over')
    expect(row.difference.low).toBeGreaterThanOrEqual(20)
    expect(row.theirs.median).toBe(10)
    expect(row.twin.median).toBeCloseTo(1, 1)
    expect(calls).toBe((row.pairs + 1) * 2)
  })

  it('takes as many pairs as the comparison wants', async () => {
    expect((await compare({ ...shared, rounds: 7, ours: () => 30 }, false)).pairs).toBe(7)
    expect((await compare({ ...shared, rounds: 7, ours: () => 30 }, true)).pairs).toBeLessThan(7)
  })

  it('gives no verdict when it was quick', async () => {
    expect((await compare({ ...shared, ours: () => 30 }, true)).verdict).toBeUndefined()
  })
})
