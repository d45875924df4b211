import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { channel, type OutputChunk } from '@vmkit/core/driver'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { runChecked } from '../tool.js'
import { drained } from './drained.js'
import { readFifo } from './fifo-streams.js'

/** A stream that ends when it is told to. */
function reader() {
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  return { ended, end, lastAt: () => 0, isHeldUp: () => false }
}

/** Whether it is over by now. */
function watch(work: Promise<void>): () => boolean {
  let isOver = false
  void work.then(() => {
    isOver = true
  })
  return () => isOver
}

describe('the output of a command that is over', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate'] }))
  afterEach(() => void vi.useRealTimers())
  const after = (ms: number) => vi.advanceTimersByTimeAsync(ms)
  /** Each turn of the loop between two looks is a millisecond here. */
  const TURNS = 20

  it('is waited for when nobody keeps it open, however late the shim is', async () => {
    const [early, late] = [reader(), reader()]
    const isOver = watch(drained([early, late], { hasChildren: async () => false }))
    early.end()
    await after(1900)
    expect(isOver()).toBe(false)
    late.end()
    await after(TURNS)
    expect(isOver()).toBe(true)
  })

  it('is not waited for when a child keeps it open', async () => {
    const isOver = watch(drained([reader()], { hasChildren: async () => true }))
    await after(99)
    expect(isOver()).toBe(false)
    await after(1 + TURNS)
    expect(isOver()).toBe(true)
  })

  it('is given up when a child that cannot be seen keeps it open', async () => {
    const isOver = watch(drained([reader()], { hasChildren: async () => false }))
    await after(1999)
    expect(isOver()).toBe(false)
    await after(1 + TURNS)
    expect(isOver()).toBe(true)
  })

  it('is waited for as long as something comes', async () => {
    let at = 0
    const isOver = watch(drained([{ ...reader(), lastAt: () => at }], { hasChildren: async () => true }))
    for (; at < 30; at += 1) await after(90)
    expect(isOver()).toBe(false)
    await after(200)
    expect(isOver()).toBe(true)
  })

  it('is waited for as long as the one who reads it takes no more, which is told', async () => {
    let told = 0
    let heldUp = true
    const slow = { ...reader(), isHeldUp: () => heldUp }
    const onHeldUp = () => {
      told += 1
    }
    const isOver = watch(drained([slow], { hasChildren: async () => true, onHeldUp }))
    await after(5000)
    expect(isOver()).toBe(false)
    expect(told).toBeGreaterThan(1)
    heldUp = false
    slow.end()
    await after(TURNS)
    expect(isOver()).toBe(true)
  })
})

it('what came while this program stood still is read before its output is given up', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vmkit-fifo-'))
  const fifo = join(folder, 'stdout')
  await runChecked('mkfifo', [fifo])
  const output = channel<OutputChunk>({ capacity: 16 })
  const stdout = readFifo(fifo, 'stdout', output, () => false)
  // Stays open, as that of a shim that is late.
  const shim = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK)
  try {
    const done = drained([stdout], { hasChildren: async () => true })
    writeSync(shim, 'last words')
    // Longer than anything is waited for.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2200)
    await done
    output.end()
    const texts: string[] = []
    for await (const { data } of output) texts.push(Buffer.from(data).toString())
    expect(texts).toEqual(['last words'])
  } finally {
    stdout.destroy()
    closeSync(shim)
    rmSync(folder, { recursive: true })
  }
})
