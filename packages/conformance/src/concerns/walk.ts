import assert from 'node:assert/strict'
import type { VMState } from '@vmkit/core'
import { type GuardedOperation, verdict } from '@vmkit/core/driver'
import { outcome, rejects } from '../assertions.js'
import type { FullVM, Test, Tools } from '../tools.js'

const STEPS = 120
/** So many on the slowest host, too. */
const LEAST = 8
const LONGEST_MS = 8000

type Settled = Extract<VMState, 'created' | 'running' | 'paused' | 'stopped'>

/** Random walks over the operations, each step compared with the state table. The seed in the report repeats them. */
export function walk(test: Test): void {
  test('any order of operations keeps to the state table', { limitMs: 60_000 }, async (t) => {
    const end = performance.now() + t.ms(LONGEST_MS)
    let model: { vm: FullVM; state: Settled } | undefined
    const path: string[] = []
    for (let step = 0; step < LEAST || (step < STEPS && performance.now() < end); step += 1) {
      model ??= { vm: await t.create({ does: 'idle' }), state: 'created' }
      const operation = choose(t, operations(t))
      path.push(operation)
      try {
        model = await take(t, model, operation)
      } catch (error) {
        throw new Error(`after ${path.join(', ')}: ${error instanceof Error ? error.message : error}`, { cause: error })
      }
    }
  })

  test('any mix of operations at a time ends typed and in a legal state', { limitMs: 60_000 }, async (t) => {
    const end = performance.now() + t.ms(LONGEST_MS)
    for (let round = 0; round < 12 && performance.now() < end; round += 1) {
      const vm = await t.create({ does: 'idle' })
      const mix = Array.from({ length: 6 }, () => choose(t, operations(t)))
      const outcomes = await t.within(
        25_000,
        `the end of ${mix.join(', ')}`,
        Promise.all(mix.map((operation) => outcome(perform(t, vm, operation)))),
      )
      for (const [i, result] of outcomes.entries()) {
        assert.ok(
          ['ok', 'INVALID_STATE', 'NOT_FOUND', 'CONFLICT', 'ABORTED'].includes(result),
          `${mix[i]} among ${mix.join(', ')}: ${result}`,
        )
      }
      const state = await vm.status().then(
        (status) => status.state,
        (error: unknown) => rejects(() => Promise.reject(error), 'NOT_FOUND').then(() => 'deleted' as const),
      )
      if (state === 'deleted')
        assert.ok(
          mix.some((operation, i) => operation === 'delete' && outcomes[i] === 'ok'),
          'it is gone, and nobody deleted it',
        )
      else {
        assert.ok(['created', 'running', 'paused', 'stopped'].includes(state), `it is left ${state} by ${mix.join(', ')}`)
        await vm.delete({ force: true })
      }
      assert.deepEqual(await t.driver.list({ name: vm.name }), [])
    }
  })
}

type Step = Extract<GuardedOperation, 'start' | 'stop' | 'kill' | 'pause' | 'resume' | 'delete' | 'exec'>

function operations(t: Tools): Step[] {
  const { missing } = t.driver
  return [
    'start',
    'start',
    'stop',
    'kill',
    'delete',
    ...(missing.pause === undefined ? (['pause', 'resume'] as const) : []),
    ...(missing.exec === undefined ? (['exec'] as const) : []),
  ]
}

async function take(
  t: Tools,
  { vm, state }: { vm: FullVM; state: Settled },
  step: Step,
): Promise<{ vm: FullVM; state: Settled } | undefined> {
  const answer = verdict(step, state)
  if (answer === 'no') {
    await rejects(perform(t, vm, step), 'INVALID_STATE', step)
    assert.equal((await vm.status()).state, state)
    return { vm, state }
  }
  await perform(t, vm, step)
  if (step === 'delete') {
    await rejects(vm.status(), 'NOT_FOUND')
    return undefined
  }
  const next = answer === 'done' || step === 'exec' ? state : AFTER[step]
  if (step === 'kill') await t.within(10_000, 'the end after SIGKILL', vm.wait())
  assert.equal((await vm.status()).state, next, `state after ${step}`)
  return { vm, state: next }
}

const AFTER: Record<Exclude<Step, 'delete' | 'exec'>, Settled> = {
  start: 'running',
  stop: 'stopped',
  kill: 'stopped',
  pause: 'paused',
  resume: 'running',
}

async function perform(t: Tools, vm: FullVM, step: Step): Promise<void> {
  if (step === 'start') await vm.start()
  if (step === 'stop') await vm.stop({ graceMs: t.ms(2000) })
  if (step === 'kill') await vm.kill('SIGKILL')
  if (step === 'pause') await vm.pause()
  if (step === 'resume') await vm.resume()
  if (step === 'delete') await vm.delete()
  if (step === 'exec') assert.ok([0, null, 137].includes((await vm.exec(t.command({ does: 'exit', code: 0 }))).exitCode))
}

function choose<T>(t: Tools, from: readonly T[]): T {
  return from[Math.floor(t.random() * from.length)] as T
}
