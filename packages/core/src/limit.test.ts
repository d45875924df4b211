import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { limitOf } from './limit.js'

it('ends by itself, and says so', async () => {
  using limit = limitOf(undefined, 5)
  await new Promise((resolve) => limit.signal.addEventListener('abort', resolve))
  expect([limit.isOver(), (limit.signal.reason as Error).name]).toEqual([true, 'TimeoutError'])
})

it('ends with its caller, and with his reason', () => {
  const caller = new AbortController()
  using limit = limitOf(caller.signal, 60_000)
  const reason = new Error('enough')
  caller.abort(reason)
  expect([limit.isOver(), limit.signal.reason]).toEqual([false, reason])
  using late = limitOf(caller.signal, 60_000)
  expect(late.signal.reason).toBe(reason)
})

it('fires also when all garbage was collected before', () => {
  const limit = fileURLToPath(new URL('../dist/driver-kit.js', import.meta.url))
  const script = `import { limitOf } from ${JSON.stringify(limit)}
const outer = new AbortController()
const fired = (() => {
  const { signal } = limitOf(outer.signal, 100)
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve('fired')))
})()
for (let turn = 0; turn < 5; turn += 1) { await new Promise((resolve) => setTimeout(resolve, 5)); gc() }
console.log(await Promise.race([fired, new Promise((resolve) => setTimeout(resolve, 5000, 'never'))]))
process.exit()`
  expect(execFileSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], { encoding: 'utf8' }).trim()).toBe('fired')
})
