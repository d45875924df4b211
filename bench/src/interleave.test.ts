import { describe, expect, it } from 'vitest'
import { interleave, roundOrder } from './interleave.js'

describe('roundOrder', () => {
  it('goes through every order of three', () => {
    const orders = new Set(Array.from({ length: 6 }, (_, round) => roundOrder(3, round).join('')))
    expect(orders.size).toBe(6)
  })

  it('gives each variant each place equally often', () => {
    const places = [0, 1, 2].map((variant) => Array.from({ length: 60 }, (_, round) => roundOrder(3, round).indexOf(variant)))
    for (const list of places) for (const place of [0, 1, 2]) expect(list.filter((value) => value === place)).toHaveLength(20)
  })
})

describe('interleave', () => {
  it('pairs the samples of a round and drops the warm-up', async () => {
    let calls = 0
    const sampler = (name: number) => () => name * 1000 + Math.floor(calls++ / 2)
    const samples = await interleave([sampler(1), sampler(2)], { rounds: 3, warmup: 2, iterations: 1 })
    expect(samples).toEqual([
      [1002, 1003, 1004],
      [2002, 2003, 2004],
    ])
  })

  it('waits for each sample before the next begins', async () => {
    let running = 0
    const sampler = async () => {
      running += 1
      await new Promise((resolve) => setImmediate(resolve))
      return running--
    }
    expect((await interleave([sampler, sampler, sampler], { rounds: 4, warmup: 0, iterations: 1 })).flat()).toEqual(new Array(12).fill(1))
  })

  it('fails when a sample fails', async () => {
    const broken = async (): Promise<number> => {
      throw new Error('no such engine')
    }
    await expect(interleave([broken], { rounds: 1, warmup: 0, iterations: 1 })).rejects.toThrow('no such engine')
  })
})
