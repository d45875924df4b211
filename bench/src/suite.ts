import type { Sampler } from './interleave.js'

/** What a comparison must reach: on the difference (ours less theirs), on the ratio (ours over theirs), or on ours alone. */
export interface Bar {
  on: 'difference' | 'ratio' | 'value'
  /** Milliseconds, bytes, a count, or a plain ratio. */
  most: number
}

/** `count` is for what varies with the code alone, such as calls of an API. */
export type Unit = 'ms' | 'bytes' | 'count'

export type Kind = 'loop' | 'process' | 'memory'

export interface Comparison {
  what: string
  /** How often it must be sampled: loops in this process, whole processes, or memory, which hardly varies. */
  kind: Kind
  unit: Unit
  ours: Sampler
  theirs: Sampler
  /** What `theirs` is, in a few words. */
  against: string
  bar?: Bar
  /** Fewer iterations per sample than usual, for loops over something slow. */
  iterations?: number
  /** Pairs, where the issue asks for so many, or where the kind's number would be too many. */
  rounds?: number
}

/** A comparison that this host cannot make. */
export interface Omission {
  what: string
  /** Why not. */
  omitted: string
}

/** What a suite may spare itself. */
export interface Run {
  /** A few samples of everything, so set-up may be small as well. */
  quick: boolean
}

/**
 * One file of `suites/`, named as on the command line. Comparisons are taken one by one and measured before the next is asked
 * for, so a generator may set up before a `yield` and tidy up in a `finally`.
 */
export interface Suite {
  /** Why nothing of it can run here, such as a missing engine; `undefined` when it can. */
  unavailable?(): Promise<string | undefined>
  comparisons(run: Run): AsyncIterable<Comparison | Omission>
}
