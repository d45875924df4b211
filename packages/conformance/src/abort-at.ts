import assert from 'node:assert/strict'
import { outcome } from './assertions.js'
import { type GivenTime, givenTime } from './given-time.js'
import type { Tools } from './tools.js'

/** Within this an abort is answered: guarantee 6. */
const ANSWER_MS = 1000

/**
 * Runs calls of one kind, which usually take `spanMs`, and aborts each at a random moment of that. How it ended, which must be soon.
 * One that ends before its abort tells better how long they take: else a first that was held up would put every abort behind the end.
 */
export function aborter(t: Tools, spanMs: number): (call: (signal: AbortSignal) => Promise<unknown>) => Promise<string> {
  let span = spanMs
  return async (call) => {
    const controller = new AbortController()
    let sinceAbort: GivenTime | undefined
    const startedAt = performance.now()
    const timer = setTimeout(
      () => {
        sinceAbort = givenTime()
        controller.abort(new Error('enough'))
      },
      t.random() * span * 1.1,
    )
    try {
      return await outcome(call(controller.signal))
    } finally {
      clearTimeout(timer)
      using since = sinceAbort
      if (since) assertSoon(since, 'the abort')
      else span = Math.min(span, performance.now() - startedAt)
    }
  }
}

/** Fails when it has been longer than an answer may take. */
export function assertSoon(since: GivenTime, what: string, mostMs = ANSWER_MS): void {
  const took = since.ms()
  assert.ok(took < mostMs, `${what} was answered after ${Math.round(took)} ms`)
}

/** How long the task takes, in milliseconds. */
export async function timed(task: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await task()
  return performance.now() - startedAt
}
