import assert from 'node:assert/strict'
import type { VMState } from '@vmkit/core'
import { type GuardedOperation, verdict } from '@vmkit/core/driver'
import { rejects } from '../assertions.js'
import type { FullVM, Test, Tools } from '../tools.js'

/** Guarantee 2: what is legal in which state, and that asking twice is asking once. */
export function states(test: Test): void {
  for (const state of ['created', 'running', 'paused', 'stopped'] as const) {
    test(`in \`${state}\`: done already, or INVALID_STATE`, state === 'paused' ? { needs: ['pause'] } : {}, async (t) => {
      const vm = await bring(t, state)
      for (const [operation, run] of Object.entries(operations(t, vm)) as [GuardedOperation, (vm: FullVM) => Promise<unknown>][]) {
        const answer = verdict(operation, state)
        const what = `${operation} of a machine that is ${state}`
        if (answer === 'done') await run(vm)
        if (answer === 'no')
          assert.match(
            (await rejects(run(vm), 'INVALID_STATE', what)).message,
            new RegExp(`\\b${state}\\b`),
            `${what}: the error must name the state`,
          )
        if (answer !== 'go') assert.equal((await vm.status()).state, state, `${what} must change nothing`)
      }
    })
  }

  test('the driver itself is idempotent, without the manager before it', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const driver = t.raw()
    await driver.probe(t.context())
    const before = await vm.info()
    await driver.start(vm.id, t.context())
    const after = await vm.info()
    assert.deepEqual(
      [after.state, after.pid, after.startedAt],
      ['running', before.pid, before.startedAt],
      'start of a running machine starts nothing',
    )
    if (driver.pause && driver.resume && vm.missing.pause === undefined) {
      await driver.resume(vm.id, t.context())
      await driver.pause(vm.id, t.context())
      await driver.pause(vm.id, t.context())
      assert.equal((await vm.status()).state, 'paused')
      await driver.resume(vm.id, t.context())
    }
    await driver.stop(vm.id, { graceMs: t.ms(3000) }, t.context())
    await driver.stop(vm.id, { graceMs: t.ms(3000) }, t.context())
    assert.equal((await vm.status()).state, 'stopped')
  })

  test('ten starts at a time start it once; ten stops stop it', {}, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await Promise.all(Array.from({ length: 10 }, () => vm.start()))
    const { startedAt, pid } = await vm.info()
    await vm.start()
    const after = await vm.info()
    assert.deepEqual([after.state, after.startedAt, after.pid], ['running', startedAt, pid])
    await Promise.all(Array.from({ length: 10 }, () => vm.stop({ graceMs: t.ms(3000) })))
    assert.equal((await vm.status()).state, 'stopped')
  })

  test('of ten deletes at a time each succeeds or says NOT_FOUND', {}, async (t) => {
    const vm = await t.create({ does: 'idle' })
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => vm.delete({ force: true })))
    assert.ok(outcomes.some(({ status }) => status === 'fulfilled'))
    for (const outcome of outcomes) if (outcome.status === 'rejected') await rejects(() => Promise.reject(outcome.reason), 'NOT_FOUND')
  })
}

/** The guarded operations that this machine has. */
function operations(t: Tools, { missing }: FullVM): Partial<Record<GuardedOperation, (vm: FullVM) => Promise<unknown>>> {
  return {
    start: (vm) => vm.start(),
    stop: (vm) => vm.stop(),
    kill: (vm) => vm.kill('SIGTERM'),
    delete: (vm) => vm.delete(),
    ...(missing.pause === undefined ? { pause: (vm: FullVM) => vm.pause(), resume: (vm: FullVM) => vm.resume() } : {}),
    ...(missing.exec === undefined ? { exec: (vm: FullVM) => vm.exec(t.command({ does: 'exit', code: 0 })) } : {}),
    ...(missing.resize === undefined ? { resize: (vm: FullVM) => vm.resize({ cpus: 1 }) } : {}),
    ...(missing.attach === undefined ? { attach: (vm: FullVM) => vm.attach() } : {}),
  }
}

/** A machine in this state. */
async function bring(t: Tools, state: Extract<VMState, 'created' | 'running' | 'paused' | 'stopped'>): Promise<FullVM> {
  const vm = await t.create({ does: 'idle' })
  if (state !== 'created') await vm.start()
  if (state === 'paused') await vm.pause()
  if (state === 'stopped') await vm.stop({ graceMs: t.ms(3000) })
  assert.equal((await vm.status()).state, state)
  return vm
}
