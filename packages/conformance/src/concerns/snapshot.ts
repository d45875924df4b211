import assert from 'node:assert/strict'
import { outcome, rejects } from '../assertions.js'
import type { FullVM, Test, Tools } from '../tools.js'

/** Snapshots are addressed by (machine, tag), and die with the machine. */
export function snapshot(test: Test): void {
  const needs = ['snapshot.disk'] as const

  test('made, listed, deleted', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const made = await vm.snapshot('one')
    assert.equal(made.tag, 'one')
    assert.equal(made.memory, false)
    assert.ok(Math.abs(made.createdAt - Date.now()) < t.ms(60_000))
    await vm.snapshot('two.x_y-z')
    assert.deepEqual((await vm.snapshots()).map(({ tag }) => tag).sort(), ['one', 'two.x_y-z'])
    await rejects(vm.snapshot('one'), 'ALREADY_EXISTS')
    await vm.deleteSnapshot('one')
    assert.deepEqual(
      (await vm.snapshots()).map(({ tag }) => tag),
      ['two.x_y-z'],
    )
    await rejects(vm.deleteSnapshot('one'), 'NOT_FOUND')
    await rejects(vm.restore('one'), 'NOT_FOUND')
    assert.equal((await vm.status()).state, 'running', 'a snapshot is nothing to the machine')
  })

  test('restore brings the disk back, and the handle follows', { needs: ['snapshot.disk', 'files'], limitMs: 90_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.files.write('kit-state', 'before')
    await vm.snapshot('clean')
    await vm.files.write('kit-state', 'after')
    const oldId = vm.id
    await vm.restore('clean')
    assert.equal((await vm.status()).state, 'stopped', 'without memory a restored machine is stopped')
    await vm.start()
    assert.equal(await vm.files.readText('kit-state'), 'before')
    assert.equal((await t.driver.list({ name: vm.name })).length, 1)
    assert.equal((await t.driver.get(vm.name)).id, vm.id)
    await oldIdIsGone(t, oldId, vm)
    assert.deepEqual(
      (await vm.snapshots()).map(({ tag }) => tag),
      ['clean'],
      'a restore does not use up the snapshot',
    )
    await vm.restore('clean')
  })

  test('labels and config survive a restore', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.create({ does: 'idle' }, { labels: { kept: 'yes' } })
    await vm.snapshot('clean')
    const before = await vm.info()
    await vm.restore('clean')
    const after = await vm.info()
    assert.deepEqual(after.labels, before.labels)
    assert.equal(after.name, before.name)
    assert.deepEqual(after.config.command, before.config.command)
  })

  test('snapshots die with their machine', { needs, limitMs: 60_000 }, async (t) => {
    const name = t.name()
    const vm = await t.create({ does: 'idle' }, { name })
    await vm.snapshot('gone')
    await vm.delete()
    const again = await t.create({ does: 'idle' }, { name })
    assert.deepEqual(await again.snapshots(), [])
    await rejects(again.restore('gone'), 'NOT_FOUND')
  })

  test('of two snapshots at a time under one tag one is made', { needs, limitMs: 60_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const outcomes = await Promise.all([outcome(vm.snapshot('same')), outcome(vm.snapshot('same'))])
    assert.deepEqual(outcomes.sort(), ['ALREADY_EXISTS', 'ok'])
    assert.equal((await vm.snapshots()).length, 1)
  })

  test('memory is saved, and a restored machine runs on from there', { needs: ['snapshot.memory', 'logs'], limitMs: 90_000 }, async (t) => {
    const vm = await t.start({ does: 'tick', everyMs: 50 })
    await vm.waitFor({ log: 'tick 3', timeoutMs: t.ms(20_000) })
    const made = await vm.snapshot('live', { memory: true })
    assert.equal(made.memory, true)
    await vm.kill('SIGKILL')
    await vm.wait()
    const oldId = vm.id
    await vm.restore('live')
    assert.equal((await vm.status()).state, 'running', 'with memory it runs on from there')
    await oldIdIsGone(t, oldId, vm)
    assert.equal((await vm.snapshots()).find(({ tag }) => tag === 'live')?.memory, true)
  })
}

async function oldIdIsGone(t: Tools, oldId: string, vm: FullVM): Promise<void> {
  if (vm.id === oldId) return
  const error = await rejects(t.driver.get(oldId), 'NOT_FOUND')
  assert.ok(error.hint?.includes(vm.id), `the error of the old id must name the new one in its hint, got ${error.hint}`)
}
