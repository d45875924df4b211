import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { first } from '../assertions.js'
import type { Test, Tools } from '../tools.js'
import { pause } from '../waiting.js'

const TIMES = 12
const MIB = 2 ** 20

/** Guarantee 7: leaving a stream early frees what it held, and a slow reader costs no memory. */
export function streams(test: Test): void {
  test('logs left early free their handles', { needs: ['logs'] }, async (t) => {
    const vm = await t.start({ does: 'tick', everyMs: 20 })
    await frees(t, async () => void (await first(vm.logs({ follow: true }))))
  })

  test('logs left while a pull waits free their handles', { needs: ['logs'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await frees(t, async () => {
      const iterator = vm.logs({ follow: true, tail: 0 })
      const pull = iterator.next()
      await iterator.return?.()
      await t.within(15_000, 'the end of the waiting pull', pull)
    })
  })

  test('events left early free their handles', {}, async (t) => {
    await frees(t, async () => {
      const iterator = t.driver.events()
      const pull = iterator.next()
      await iterator.return?.()
      await t.within(15_000, 'the end of the waiting pull', pull)
    })
  })

  test('readings left early free their handles', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await frees(t, async () => void (await first(vm.watchMetrics({ intervalMs: 1000 }))))
  })

  test('an exec session left early frees its handles', { needs: ['exec', 'exec.stream', 'exec.kill'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await frees(t, async () => {
      await using session = await vm.execStream(t.command({ does: 'tick', everyMs: 20 }))
      for await (const _ of session.output) break
    })
  })

  test('a file left early frees its handles', { needs: ['files'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await vm.files.write('kit/large', new Uint8Array(4 * MIB))
    await frees(t, async () => void (await first(vm.files.readStream('kit/large'))))
  })

  test('an export left early frees its handles', { needs: ['bundle'] }, async (t) => {
    const vm = await t.create({ does: 'idle' })
    await frees(t, async () => void (await first(vm.exportBundle())), 3)
  })

  test('an aborted wait frees its handles', {}, async (t) => {
    const vm = await t.start({ does: 'idle' })
    await frees(t, async () => {
      const controller = new AbortController()
      const waiting = vm.wait({ signal: controller.signal }).catch(() => {})
      await vm.status()
      controller.abort()
      await waiting
    })
  })

  test('a slow reader of a command costs little memory', { needs: ['exec', 'exec.stream', 'exec.kill'] }, async (t) => {
    const vm = await t.start({ does: 'idle' })
    const before = memory()
    await using session = await vm.execStream(t.command({ does: 'flood', bytes: 256 * MIB }))
    const iterator = session.output[Symbol.asyncIterator]()
    await iterator.next()
    assert.ok((await peak(t)) - before < 48 * MIB, 'the output that nobody reads piles up in memory')
    await iterator.return?.()
  })

  test('a slow reader of logs costs little memory', { needs: ['logs'] }, async (t) => {
    const vm = await t.start({ does: 'flood', bytes: 8 * MIB })
    await t.within(25_000, 'the end of the flood', vm.wait())
    const before = memory()
    const iterator = vm.logs()
    await iterator.next()
    assert.ok((await peak(t)) - before < 10 * MIB, 'the log is read into memory as a whole')
    await iterator.return?.()
  })
}

/** Runs the task several times; afterwards there are no more handles than after the first time. */
async function frees(t: Tools, task: () => Promise<void>, times = TIMES): Promise<void> {
  await task()
  await t.driver.list()
  for (let isSecond = false; ; isSecond = true) {
    const before = await settled(t)
    for (let i = 0; i < times; i += 1) await task()
    try {
      // One pooled connection more or less says nothing; one per task does.
      await t.until(`the handles to be freed; there were ${before}, now ${handles()}`, () => handles() < before + Math.ceil(times / 3))
      return
    } catch (error) {
      // Calls that a busy host let overlap leave some more connections in the pool, once. What leaks leaks again.
      if (isSecond) throw error
    }
  }
}

/** The number of handles once it no longer falls. */
async function settled(t: Tools): Promise<number> {
  let last = handles()
  for (let i = 0; i < 5; i += 1) {
    await pause(t.ms(10))
    last = Math.min(last, handles())
  }
  return last
}

function handles(): number {
  return descriptors() + process.getActiveResourcesInfo().filter((kind) => kind !== 'Timeout' && kind !== 'Immediate').length
}

function descriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length
  } catch {
    return 0 // not Linux: the active resources alone tell
  }
}

function memory(): number {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** The largest of some readings while nothing is read. */
async function peak(t: Tools): Promise<number> {
  let most = 0
  for (let i = 0; i < 8; i += 1) {
    await pause(t.ms(60))
    most = Math.max(most, memory())
  }
  return most
}
