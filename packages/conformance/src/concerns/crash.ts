import assert from 'node:assert/strict'
import type { VMConfig, VMSummary } from '@vmkit/core'
import { outcome } from '../assertions.js'
import type { Child } from '../children.js'
import type { FullHandle, Test, Tools } from '../tools.js'
import { pause } from '../waiting.js'

const ROUNDS = 8

/** Guarantee 3: SIGKILL of the app at any moment; a new process sees everything and can end it. */
export function crash(test: Test): void {
  test('a machine lives on, and a new process finds it as it was', { durability: 'host', limitMs: 90_000 }, async (t) => {
    const startedAt = performance.now()
    const first = await t.child()
    // Long enough for a second process to start while it runs: how busy this host is, the first one tells.
    const afterMs = 5000 + Math.round(4 * (performance.now() - startedAt))
    const config = t.config({ does: 'exit', code: 23, afterMs }, { labels: { kept: 'yes ü' } })
    const vm = await first.ask<string>({ op: 'create', config })
    await first.ask({ op: 'start', vm })
    await first.crash()
    const second = await t.child()
    const listed = (await second.ask<VMSummary[]>({ op: 'list' })).find(({ id }) => id === vm)
    assert.ok(listed, 'the new process does not list it')
    assert.deepEqual([listed.name, listed.state, listed.labels.kept], [config.name, 'running', 'yes ü'])
    const info = await second.ask<{ config: VMConfig; startedAt: number | null }>({ op: 'info', vm })
    assert.equal(info.config.name, config.name)
    if (config.command) assert.deepEqual(info.config.command, [...config.command])
    const exit = await t.within(20_000 + afterMs, 'the exit', second.ask<{ code: number | null }>({ op: 'wait', vm }))
    assert.ok(exit.code === 23 || exit.code === null, `the exit is 23, or null where the backend cannot know it; got ${exit.code}`)
    await second.ask({ op: 'delete', vm })
  })

  test('an exit that no process saw is known afterwards, or null', { durability: 'host' }, async (t) => {
    const first = await t.child()
    const vm = await first.ask<string>({ op: 'create', config: t.config({ does: 'exit', code: 42, afterMs: 300 }) })
    await first.ask({ op: 'start', vm })
    await first.crash()
    const found = await t.driver.get(vm)
    const { exit } = await t.until('the end', async () => {
      const status = await found.status()
      // One that is switching itself off is seen as `stopping`, and has no exit yet.
      return status.state === 'running' || status.state === 'stopping' ? undefined : status
    })
    assert.ok(exit, 'a machine that ran and ended has an exit')
    assert.ok(exit.code === 42 || exit.code === null, `got ${exit.code}`)
  })

  for (const [phase, before] of [
    ['create', []],
    ['start', ['create']],
    ['stop', ['create', 'start']],
    ['delete', ['create', 'start']],
  ] as const) {
    test(`SIGKILL in the middle of ${phase}`, { durability: 'host', limitMs: 120_000 }, async (t) => {
      const span = await measure(t, phase, before)
      let next = t.child()
      for (let round = 0; round < ROUNDS; round += 1) {
        const config = t.config({ does: 'idle' }, { labels: { round: String(round) } })
        const child = await next
        for (const step of before) await perform(child, step, config)
        const pending = perform(child, phase, config)
        pending.catch(() => {}) // it is killed in the middle
        await pause(t.random() * span * 1.1)
        await child.crash()
        next = t.child() // starts while this process looks at what is left
        await recover(t, config, phase)
      }
      await (await next).end()
      await t.assertNothingLeft()
    })
  }
}

type Step = 'create' | 'start' | 'stop' | 'delete'

async function perform(child: Child, step: Step, config: VMConfig): Promise<unknown> {
  if (step === 'create') return child.ask({ op: 'create', config })
  return child.ask({ op: step, vm: config.name as string })
}

/** How long the step takes in a child, in milliseconds. */
async function measure(t: Tools, phase: Step, before: readonly Step[]): Promise<number> {
  const config = t.config({ does: 'idle' })
  const child = await t.child()
  for (const step of before) await perform(child, step, config)
  const startedAt = performance.now()
  await perform(child, phase, config)
  const span = performance.now() - startedAt
  if (phase !== 'delete') await perform(child, 'delete', config)
  await child.end()
  return span
}

/** What the dead process asked for last may have come about only after the first look. */
async function deleteLate(driver: FullHandle, name: string): Promise<void> {
  for (const { id } of await driver.list({ name }))
    assert.ok(['ok', 'NOT_FOUND'].includes(await outcome(driver.get(id).then((vm) => vm.delete({ force: true })))), 'it cannot be deleted')
}

/** A new driver instance sees a whole machine or none; what it sees can be stopped and deleted, and the name is free then. */
async function recover(t: Tools, config: VMConfig, phase: Step): Promise<void> {
  const { driver } = t.second()
  const found = await t.until('the machine to settle', async () => {
    const listed = await driver.list({ name: config.name })
    assert.ok(listed.length <= 1, 'the name is there twice')
    const [vm] = listed
    // The engine may be at work on what the dead process asked for.
    return vm === undefined ? 'none' : vm.state === 'starting' || vm.state === 'stopping' ? undefined : vm
  })
  if (phase === 'start' || phase === 'stop') assert.notEqual(found, 'none', `a crash in ${phase} lost the machine`)
  if (found !== 'none') {
    const vm = await driver.get(found.id)
    const info = await t.until('what it tells to settle', async () => {
      try {
        const told = await vm.info()
        // What the dead process asked for may have begun since the list.
        return told.state === 'starting' || told.state === 'stopping' ? undefined : told
      } catch (error) {
        // A delete that the engine goes on with may end between the two calls.
        if (phase === 'delete' && (error as { code?: string }).code === 'NOT_FOUND') return 'gone' as const
        throw error
      }
    })
    if (info !== 'gone') {
      assert.equal(info.name, config.name)
      assert.deepEqual(info.labels, config.labels, 'labels')
      if (config.command) assert.deepEqual(info.config.command, [...config.command], 'config')
      assert.ok(['created', 'running', 'stopped', 'failed'].includes(info.state), `it is ${info.state}`)
    }
    const gone = phase === 'delete' ? ['ok', 'NOT_FOUND'] : ['ok']
    assert.ok(gone.includes(await outcome(vm.stop({ graceMs: t.ms(500) }))), 'it cannot be stopped')
    assert.ok(gone.includes(await outcome(vm.delete({ force: true }))), 'it cannot be deleted')
  }
  await t.until('the name to be free', async () => {
    const again = await outcome(driver.create(config, { onDispose: 'detach' }))
    assert.ok(again === 'ok' || again === 'ALREADY_EXISTS' || again === 'CONFLICT', again)
    if (again !== 'ok' && phase === 'create') await deleteLate(driver, config.name as string)
    return again === 'ok'
  })
  await (await driver.get(config.name as string)).delete()
  assert.deepEqual(await driver.list({ name: config.name }), [])
}
