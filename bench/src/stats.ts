/** The statistics of the bench, pure. Medians, because a machine that does other things too spoils single samples, not the middle. */

export interface Interval {
  low: number
  high: number
}

export interface Estimate extends Interval {
  median: number
}

/** The middle value, or the mean of the middle two; `NaN` of nothing. */
export function median(values: readonly number[]): number {
  return middle(Float64Array.from(values).sort())
}

const RESAMPLES = 1000

/**
 * The median and its 95 % interval by the percentile bootstrap (Efron, 1979): the medians of so many samples drawn from the
 * sample, with replacement. Assumes nothing of the distribution. The same values and generator give the same interval.
 */
export function estimate(values: readonly number[], random: () => number): Estimate {
  const drawn = new Float64Array(values.length)
  const medians = new Float64Array(RESAMPLES)
  for (let sample = 0; sample < RESAMPLES; sample += 1) {
    for (let index = 0; index < drawn.length; index += 1) drawn[index] = values[Math.floor(random() * values.length)] as number
    medians[sample] = middle(drawn.sort())
  }
  medians.sort()
  return {
    median: median(values),
    low: medians[Math.floor(RESAMPLES * 0.025)] as number,
    high: medians[Math.ceil(RESAMPLES * 0.975) - 1] as number,
  }
}

export interface PairedEstimates {
  /** Of the first alone. */
  value: Estimate
  /** First less second, pair by pair: what slows both down for a while cancels out. */
  difference: Estimate
  /** First over second, pair by pair. */
  ratio: Estimate
}

/** Compares samples that were taken in pairs: `ours[i]` and `theirs[i]` at about the same time. */
export function comparePairs(ours: readonly number[], theirs: readonly number[], random: () => number): PairedEstimates {
  if (ours.length !== theirs.length) throw new RangeError(`Samples come in pairs, got ${ours.length} and ${theirs.length}`)
  const pairs = ours.map((value, index) => [value, theirs[index] as number] as const)
  return {
    value: estimate(ours, random),
    difference: estimate(
      pairs.map(([our, their]) => our - their),
      random,
    ),
    ratio: estimate(
      pairs.map(([our, their]) => our / their),
      random,
    ),
  }
}

/** xorshift32 (Marsaglia, 2003), numbers from 0 to below 1: seeded, so that a stored result can be computed again. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

function middle(sorted: Float64Array): number {
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[half] as number) : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2
}
