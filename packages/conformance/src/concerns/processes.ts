import assert from 'node:assert/strict'
import type { VMStatus, VMSummary } from '@vmkit/core'
import { outcome } from '../assertions.js'
import type { Child, ChildRequest } from '../children.js'
import type { Test } from '../tools.js'

const ROUNDS = 5

/** Guarantee 5: several processes on one driver; every race ends typed, and nothing is half done. */
export function processes(test: Test): void {
  const gate = { durability: 'host', limitMs: 60_000 } as const

  test('of two processes that create one name, exactly one does', gate, async (t) => {
    const pair = await Promise.all([t.child(), t.child()])
    for (let round = 0; round < ROUNDS; round += 1) {
      const config = t.config({ does: 'idle' })
      const outcomes = await race(pair, { op: 'create', config }, { op: 'create', config })
      assert.deepEqual(outcomes.sort(), ['ALREADY_EXISTS', 'ok'])
      assert.equal((await t.driver.list({ name: config.name })).length, 1)
      await (await t.driver.get(config.name as string)).delete()
    }
  })

  test('what one process does, the other sees', gate, async (t) => {
    const [one, two] = await Promise.all([t.child(), t.child()])
    const vm = await one.ask<string>({ op: 'create', config: t.config({ does: 'idle' }) })
    assert.equal((await two.ask<VMStatus>({ op: 'status', vm })).state, 'created')
    await two.ask({ op: 'start', vm })
    assert.equal((await one.ask<VMStatus>({ op: 'status', vm })).state, 'running')
    const waiting = two.ask<{ code: number | null }>({ op: 'wait', vm })
    await one.ask({ op: 'stop', vm })
    await t.within(10_000, 'the other process to hear of the end', waiting)
    assert.equal((await two.ask<VMStatus>({ op: 'status', vm })).state, 'stopped')
    await one.ask({ op: 'delete', vm })
    assert.ok(!(await two.ask<VMSummary[]>({ op: 'list' })).some(({ id }) => id === vm))
  })

  for (const [left, right, running] of [
    ['start', 'start', false],
    ['start', 'stop', false],
    ['start', 'delete', false],
    ['stop', 'stop', true],
    ['stop', 'delete', true],
    ['delete', 'delete', true],
  ] as const) {
    test(`${left} against ${right}`, gate, async (t) => {
      const pair = await Promise.all([t.child(), t.child()])
      for (let round = 0; round < ROUNDS; round += 1) {
        const vm = await t.create({ does: 'idle' })
        if (running) await vm.start()
        const outcomes = await t.within(25_000, 'both', race(pair, { op: left, vm: vm.id }, { op: right, vm: vm.id }))
        for (const result of outcomes)
          assert.ok(
            ['ok', 'NOT_FOUND', 'CONFLICT', 'INVALID_STATE', 'ABORTED'].includes(result),
            `${left} against ${right}: ${outcomes.join(', ')}`,
          )
        assert.ok(outcomes.includes('ok'), `neither did it: ${outcomes.join(', ')}`)
        const state = await vm.status().then(
          (status) => status.state,
          () => 'deleted' as const,
        )
        if (left === 'start' && right === 'start') assert.equal(state, 'running')
        if (left === 'stop' && right === 'stop') assert.equal(state, 'stopped')
        if (right === 'delete' && outcomes[1] === 'ok') assert.equal(state, 'deleted')
        assert.ok(['created', 'running', 'stopped', 'deleted'].includes(state), `it is left ${state}`)
        if (state !== 'deleted') await vm.delete({ force: true })
        assert.deepEqual(await t.driver.list({ name: vm.name }), [])
      }
    })
  }

  test('two processes make twenty machines at a time', gate, async (t) => {
    const pair = await Promise.all([t.child(), t.child()])
    const made = await Promise.all(
      pair.flatMap((child) => Array.from({ length: 10 }, () => child.ask<string>({ op: 'create', config: t.config({ does: 'idle' }) }))),
    )
    assert.deepEqual((await t.mine()).map(({ id }) => id).sort(), made.sort())
  })
}

async function race([one, two]: readonly [Child, Child], left: ChildRequest, right: ChildRequest): Promise<string[]> {
  return Promise.all([outcome(one.ask(left)), outcome(two.ask(right))])
}
