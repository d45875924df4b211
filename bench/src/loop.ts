import { Bench } from 'tinybench'
import type { Sampler } from './interleave.js'

export interface LoopOptions {
  /** Before and after each call, outside the measured time. */
  before?: () => void | Promise<void>
  after?: () => void | Promise<void>
  /** What `run` does so many times; the sample is the time of one. Default 1. */
  per?: number
}

/**
 * A sampler of milliseconds per call, taken by tinybench. It returns the mean of its calls: garbage that a call makes is
 * collected during some other call, and a median would not count it.
 */
export function loop(run: () => unknown, { before, after, per = 1 }: LoopOptions = {}): Sampler {
  return async (iterations) => {
    const bench = new Bench({ iterations, time: 0, warmup: false, throws: true, timestampProvider: 'hrtimeNow' })
    bench.add('sample', run, { async: true, ...(before ? { beforeEach: before } : {}), ...(after ? { afterEach: after } : {}) })
    const [task] = await bench.run()
    const result = task?.result
    if (result?.state !== 'completed') throw new Error(`A sample ended as ${result?.state ?? 'nothing'}`)
    return result.latency.mean / per
  }
}

/** A sampler of milliseconds for one run of something slow. */
export function once(run: () => Promise<unknown>): Sampler {
  return async () => {
    const started = performance.now()
    await run()
    return performance.now() - started
  }
}
