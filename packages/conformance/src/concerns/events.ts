import assert from 'node:assert/strict'
import type { MachineEvent, VMEvent } from '@vmkit/core'
import type { FullHandle, Test, Tools } from '../tools.js'

/** One stream of what happens, made by the backend or by the manager; nothing is missed after the first pull. */
export function events(test: Test): void {
  test('a life is told in order', {}, async (t) => {
    const heard = listen(t, t.driver)
    const vm = await t.create({ does: 'idle' })
    await vm.start()
    await vm.stop({ graceMs: t.ms(3000) })
    await vm.delete()
    await heard.until((event) => event.type === 'deleted' && event.id === vm.id)
    const mine = heard.of(vm.id)
    assert.deepEqual(
      mine.map(({ type }) => type),
      ['created', 'started', 'stopped', 'deleted'],
    )
    for (const event of mine) {
      assert.equal(event.driver, t.driver.name)
      assert.equal(event.name, vm.name)
      assert.ok(Math.abs(event.at - Date.now()) < t.ms(60_000), `at: got ${event.at}`)
    }
    const stopped = mine[2] as Extract<MachineEvent, { type: 'stopped' }>
    assert.ok('code' in stopped.exit && 'signal' in stopped.exit)
    await heard.end()
  })

  test('pause and resume are told', { needs: ['pause'] }, async (t) => {
    const heard = listen(t, t.driver)
    const vm = await t.start({ does: 'idle' })
    // A start may be told a moment after its call has returned.
    await heard.until((event) => event.type === 'started' && event.id === vm.id)
    await vm.pause()
    await vm.resume()
    await heard.until((event) => event.type === 'resumed' && event.id === vm.id)
    assert.deepEqual(
      heard.of(vm.id).map(({ type }) => type),
      ['created', 'started', 'paused', 'resumed'],
    )
    await heard.end()
  })

  test('the stream of one machine is about it alone', {}, async (t) => {
    const heard = listen(t, t.driver)
    const vm = await t.create({ does: 'idle' })
    await heard.until((event) => event.type === 'created' && event.id === vm.id)
    const iterator = vm.events()
    const pull = iterator.next()
    const other = await t.create({ does: 'idle' })
    await other.start()
    await vm.start()
    const { value } = await t.within(10_000, 'an event', pull)
    assert.deepEqual([value.id, value.type], [vm.id, 'started'])
    await iterator.return?.()
    await heard.end()
  })

  test('a machine that ends by itself is heard of, with its exit', { needs: ['events'] }, async (t) => {
    const heard = listen(t, t.driver)
    const vm = await t.start({ does: 'exit', code: 9, afterMs: 50 })
    const event = await heard.until((candidate) => candidate.type === 'stopped' && candidate.id === vm.id)
    assert.ok(event.type === 'stopped')
    assert.equal(event.exit.code, 9)
    assert.equal((await vm.status()).state, 'stopped', 'what is told is true already')
    await heard.end()
  })

  test('what another manager does is heard', { needs: ['events'] }, async (t) => {
    const { driver } = t.second()
    // Where events depend on the host, the manager asks the probe first, and hears what comes after its answer.
    await driver.probe()
    const heard = listen(t, driver)
    const vm = await t.create({ does: 'idle' })
    await heard.until((event) => event.type === 'created' && event.id === vm.id)
    await vm.delete()
    await heard.until((event) => event.type === 'deleted' && event.id === vm.id)
    await heard.end()
  })

  test('two readers hear the same; one leaving does not end the other', {}, async (t) => {
    const one = listen(t, t.driver)
    const two = listen(t, t.driver)
    const vm = await t.create({ does: 'idle' })
    const isCreated = (event: VMEvent): boolean => event.type === 'created' && event.id === vm.id
    await one.until(isCreated)
    await two.until(isCreated)
    await one.end()
    await vm.delete()
    await two.until((event) => event.type === 'deleted' && event.id === vm.id)
    await two.end()
  })

  test('the stream ends with its manager', {}, async (t) => {
    const { manager, driver } = t.second()
    await driver.probe()
    const iterator = driver.events()
    const pull = iterator.next().then(
      ({ done }) => done === true,
      () => true,
    )
    await manager.close()
    assert.equal(await t.within(15_000, 'the end of the stream', pull), true)
  })
}

interface Listening {
  of(id: string): MachineEvent[]
  until(accept: (event: VMEvent) => boolean): Promise<VMEvent>
  end(): Promise<void>
}

/** Reads on while the test goes on. The first pull is made before this returns, so nothing is missed. */
function listen(t: Tools, driver: FullHandle): Listening {
  const seen: VMEvent[] = []
  let failure: unknown
  const iterator = driver.events()
  let pull = iterator.next()
  const reading = (async () => {
    for (let result = await pull; !result.done; result = await pull) {
      seen.push(result.value)
      pull = iterator.next()
    }
  })().catch((error: unknown) => {
    failure = error
  })
  return {
    of: (id) => seen.filter((event): event is MachineEvent => event.type !== 'image-pulled' && event.id === id),
    async until(accept) {
      return t.until(`an event; there were: ${seen.map(({ type }) => type).join(', ')}`, () => {
        if (failure !== undefined) throw failure
        return seen.find(accept)
      })
    },
    async end() {
      await t.within(15_000, 'leaving the events', Promise.resolve(iterator.return?.()))
      await t.within(15_000, 'the end of the events', reading)
    },
  }
}
