import assert from 'node:assert/strict'
import { assertSoon } from '../abort-at.js'
import { all, rejects } from '../assertions.js'
import { givenTime } from '../given-time.js'
import type { Test, Tools } from '../tools.js'

/** Guarantee 10: a backend that is away is an error at once, and needs no new driver object when it is back. */
export function backendDown(test: Test): void {
  const hooks = ['disrupt'] as const

  test('every call is BACKEND_UNAVAILABLE at once, and works again afterwards', { hooks, limitMs: 90_000 }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await down(t, async () => {
      const calls: Record<string, () => Promise<unknown>> = {
        list: () => t.driver.list(),
        get: () => t.driver.get(vm.id),
        create: () => t.driver.create(t.config({ does: 'idle' })),
        status: () => vm.status(),
        info: () => vm.info(),
        start: () => vm.start(),
        stop: () => vm.stop(),
        delete: () => vm.delete({ force: true }),
        metrics: () => vm.metrics(),
        wait: () => vm.wait(),
      }
      if (vm.supports('logs')) calls.logs = () => all(vm.logs())
      if (t.driver.missing.images === undefined) calls['images.list'] = () => t.driver.images.list()
      for (const [what, call] of Object.entries(calls)) {
        using sinceCall = givenTime()
        const error = await rejects(t.within(15_000, `an answer of ${what}`, call()), 'BACKEND_UNAVAILABLE', what)
        assertSoon(sinceCall, what, t.ms(3000))
        assert.equal(error.retryable, true)
      }
    })
    assert.ok(
      (await t.driver.list()).some(({ id }) => id === vm.id),
      'the machine is still there',
    )
    await vm.start()
    assert.equal((await vm.status()).state, 'running')
  })

  test('the probe says so, with the reason', { hooks, limitMs: 90_000 }, async (t) => {
    const { driver } = t.second()
    await driver.probe()
    await down(t, async () => {
      const probe = await driver.probe({ refresh: true })
      assert.equal(probe.available, false)
      assert.match(probe.reason ?? '', /\S{2,}/, 'expected a reason')
      const error = await rejects(driver.create(t.config({ does: 'idle' })), 'BACKEND_UNAVAILABLE')
      assert.ok(error.message.includes(probe.reason as string), 'the error must say what the probe says')
    })
    assert.equal((await driver.probe({ refresh: true })).available, true)
    await (await driver.create(t.config({ does: 'idle' }), { onDispose: 'detach' })).delete()
  })

  test('streams and waits that are open reject', { hooks, limitMs: 90_000 }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const { driver } = t.second()
    const open: Record<string, Promise<unknown>> = { wait: vm.wait() }
    if (t.driver.missing.events === undefined) open.events = driver.events().next()
    if (vm.supports('logs')) open['logs with follow'] = all(vm.logs({ follow: true }))
    for (const promise of Object.values(open)) promise.catch(() => {})
    await vm.info()
    await down(t, async () => {
      for (const [what, promise] of Object.entries(open))
        await rejects(t.within(15_000, `the end of ${what}`, promise), ['BACKEND_UNAVAILABLE', 'BACKEND_ERROR'], what)
    })
    await t.driver.list()
  })
}

async function down(t: Tools, task: () => Promise<void>): Promise<void> {
  const disrupt = t.options.disrupt as NonNullable<typeof t.options.disrupt>
  await disrupt.down()
  try {
    await task()
  } finally {
    await disrupt.up()
  }
  await t.until('the backend to be back', () =>
    t.driver.list().then(
      () => true,
      () => false,
    ),
  )
}
