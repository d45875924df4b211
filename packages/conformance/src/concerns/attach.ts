import assert from 'node:assert/strict'
import { VMKitError } from '@vmkit/core'
import type { Test } from '../tools.js'

/** The main process itself: its output as bytes, its stdin, its terminal. */
export function attach(test: Test): void {
  const needs = ['attach'] as const

  test('stdin goes in, output comes out, the machine goes on after close', { needs, limitMs: 60_000 }, async (t) => {
    // Several times: what comes right after attach is what a driver that is not ready yet loses.
    for (let round = 0; round < 4; round += 1) {
      const vm = await t.start({ does: 'echo' }, { stdin: true })
      const session = await vm.attach()
      let text = ''
      const reading = (async () => {
        for await (const { data } of session.output) {
          text += Buffer.from(data).toString()
          if (text.includes('tö you')) break
        }
      })()
      await session.stdin.write('tö you\n')
      await t.within(15_000, 'the echo', reading)
      await t.within(15_000, 'close', session.close())
      await session.close()
      assert.equal((await vm.status()).state, 'running')
    }
  })

  test('the end of stdin reaches the main process', { needs }, async (t) => {
    const vm = await t.start({ does: 'echo' }, { stdin: true })
    await using session = await vm.attach()
    await session.stdin.write('last\n')
    try {
      await session.stdin.end()
    } catch (error) {
      // Some engines close it only for every later client as well; then the driver must say so instead of doing nothing.
      if (error instanceof VMKitError && error.code === 'UNSUPPORTED') t.skip(error.message)
      throw error
    }
    assert.equal((await t.within(10_000, 'the end of the machine', vm.wait())).code, 0)
  })

  test('ends when the machine ends', { needs }, async (t) => {
    const vm = await t.start({ does: 'tick', everyMs: 20 })
    await using session = await vm.attach()
    const reading = (async () => {
      for await (const _ of session.output);
    })()
    await vm.kill('SIGKILL')
    await t.within(
      10_000,
      'the end of the output',
      reading.catch(() => {}),
    )
  })

  test('a terminal is resized', { needs }, async (t) => {
    if (!t.facts.fields.includes('tty')) t.skip('the driver does not honour `tty` (its refusal is tested)')
    const vm = await t.start({ does: 'size' }, { tty: true, stdin: true })
    await using session = await vm.attach()
    let text = ''
    const reading = (async () => {
      for await (const { source, data } of session.output) {
        assert.equal(source, 'console')
        text += Buffer.from(data).toString()
        if (text.includes('93 37')) break
      }
    })()
    await session.resize({ columns: 93, rows: 37 })
    await t.within(15_000, 'the new size', reading)
  })

  test('the console is a line to the machine', { needs: ['console'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const session = await vm.console()
    await session.stdin.write('\n')
    await t.within(15_000, 'close', session.close())
    assert.equal((await vm.status()).state, 'running')
  })

  test('the screen is an endpoint and a PNG', { needs: ['vnc'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const endpoint = await vm.vnc()
    assert.ok(endpoint.socketPath !== undefined || endpoint.port !== undefined)
    const picture = await vm.screenshot()
    assert.deepEqual([...picture.subarray(0, 8)], [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
  })
}
