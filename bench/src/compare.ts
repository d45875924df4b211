import { type Effort, interleave } from './interleave.js'
import { comparePairs, type Estimate, estimate, type PairedEstimates, seededRandom } from './stats.js'
import type { Bar, Comparison, Kind, Unit } from './suite.js'

/** `noise`: the interval holds the bar, so this run cannot tell. */
export type Verdict = 'ok' | 'over' | 'noise'

export interface Row extends PairedEstimates {
  what: string
  against: string
  unit: Unit
  pairs: number
  /** Ours alone is `value`; this is theirs alone. */
  theirs: Estimate
  /** Ours over ours, sampled as if they were two: its distance from 1 is the noise of this row. */
  twin: Estimate
  bar?: Bar
  verdict?: Verdict
}

// Any number would do; a fixed one lets a stored result be computed again.
const SEED = 20_261_121

const EFFORT: Readonly<Record<Kind, Effort>> = {
  loop: { rounds: 100, warmup: 6, iterations: 50 },
  process: { rounds: 72, warmup: 3, iterations: 1 },
  memory: { rounds: 24, warmup: 1, iterations: 1 },
}

/** Enough to see that everything runs, and for nothing else: two pairs give no verdict. */
const QUICK: Effort = { rounds: 2, warmup: 1, iterations: 2 }

export async function compare(comparison: Comparison, quick: boolean): Promise<Row> {
  const { what, against, unit, ours, theirs, bar, kind } = comparison
  const effort = quick ? QUICK : { ...EFFORT[kind], rounds: comparison.rounds ?? EFFORT[kind].rounds }
  const iterations = Math.min(effort.iterations, comparison.iterations ?? effort.iterations)
  const [our = [], their = [], twin = []] = await interleave([ours, theirs, ours], { ...effort, iterations })
  const random = seededRandom(SEED)
  const estimates = comparePairs(our, their, random)
  return {
    what,
    against,
    unit,
    pairs: effort.rounds,
    ...estimates,
    theirs: estimate(their, random),
    twin: comparePairs(twin, our, random).ratio,
    ...(bar ? { bar } : {}),
    ...(bar && !quick ? { verdict: judge(bar, estimates) } : {}),
  }
}

/** Only an interval that lies on one side of the bar as a whole says anything. */
export function judge({ on, most }: Bar, estimates: PairedEstimates): Verdict {
  const { low, high } = estimates[on]
  if (high <= most) return 'ok'
  return low > most ? 'over' : 'noise'
}
