import assert from 'node:assert/strict'
import { outcome } from './assertions.js'
import type { Tools } from './tools.js'

/** Runs the call and aborts it at a random moment of about its usual length. How it ended, which must be soon. */
export async function aborted(t: Tools, spanMs: number, call: (signal: AbortSignal) => Promise<unknown>): Promise<string> {
  const controller = new AbortController()
  let abortedAt = Number.POSITIVE_INFINITY
  const timer = setTimeout(
    () => {
      abortedAt = performance.now()
      controller.abort(new Error('enough'))
    },
    t.random() * spanMs * 1.1,
  )
  const result = await outcome(call(controller.signal))
  clearTimeout(timer)
  const took = performance.now() - abortedAt
  assert.ok(took < 1000, `abort was answered after ${took} ms`)
  return result
}

/** How long the task takes, in milliseconds. */
export async function timed(task: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await task()
  return performance.now() - startedAt
}
