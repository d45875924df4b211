/** Takes one sample: milliseconds or bytes. Those that loop do so `iterations` times and return the mean. */
export type Sampler = (iterations: number) => number | Promise<number>

export interface Effort {
  /** Samples of each variant. */
  rounds: number
  /** Rounds before these whose samples do not count: the JIT and the page cache warm up. */
  warmup: number
  iterations: number
}

/**
 * Samples all variants in turn, round after round, so that each meets the same weather. Resolves with one list per variant;
 * the samples of one index were taken in one round.
 */
export async function interleave(variants: readonly Sampler[], { rounds, warmup, iterations }: Effort): Promise<number[][]> {
  const samples = variants.map((): number[] => [])
  for (let round = -warmup; round < rounds; round += 1) {
    for (const index of roundOrder(variants.length, round + warmup)) {
      const value = await (variants[index] as Sampler)(iterations)
      if (round >= 0) samples[index]?.push(value)
    }
  }
  return samples
}

/** Who goes when: rotated each round, and turned round after each full turn, so that nobody always follows the same one. */
export function roundOrder(count: number, round: number): number[] {
  const order = Array.from({ length: count }, (_, position) => (position + round) % count)
  return Math.floor(round / count) % 2 === 1 ? order.reverse() : order
}
