import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { drained } from './drained.js'

/** A stream that ends after so long, or never. */
const reader = (endsAfterMs?: number) => ({
  ended: endsAfterMs === undefined ? new Promise<void>(() => {}) : delay(endsAfterMs),
  lastAt: () => 0,
  isHeldUp: () => false,
})

const timed = async (work: Promise<unknown>): Promise<number> => {
  const startedAt = performance.now()
  await work
  return performance.now() - startedAt
}

describe('the output of a command that is over', () => {
  it('is waited for when nobody keeps it open, however late the shim is', async () => {
    const late = reader(400)
    let isEnded = false
    void late.ended.then(() => {
      isEnded = true
    })
    await drained([reader(0), late], { hasChildren: async () => false })
    expect(isEnded).toBe(true)
  })

  it('is not waited for when a child keeps it open', async () => {
    const took = await timed(drained([reader(0), reader()], { hasChildren: async () => true }))
    expect(took).toBeGreaterThan(95)
    expect(took).toBeLessThan(1900)
  })

  it('is given up when a child that cannot be seen keeps it open', async () => {
    expect(await timed(drained([reader()], { hasChildren: async () => false }))).toBeGreaterThan(1900)
  })

  it('is waited for as long as the one who reads it takes no more, which is told', async () => {
    let told = 0
    let heldUp = true
    const slow = { ...reader(400), isHeldUp: () => heldUp }
    void slow.ended.then(() => {
      heldUp = false
    })
    const onHeldUp = () => {
      told += 1
    }
    await drained([slow], { hasChildren: async () => true, onHeldUp })
    expect(heldUp).toBe(false)
    expect(told).toBeGreaterThan(1)
  })
})
