import { describe, expect, it } from 'vitest'
import { lightEnvironment, nodeHeap, nodeNumber, nodeTime } from './child.js'

describe('lightEnvironment', () => {
  it('drops what makes Node start slower', () => {
    const env = lightEnvironment({ PATH: '/bin', NODE_OPTIONS: '--import x', NODE_EXTRA_CA_CERTS: '/ca', NODE_V8_COVERAGE: '/c' })
    expect(env).toEqual({ PATH: '/bin' })
  })
})

describe('children', () => {
  it('are timed from spawn to exit', async () => {
    expect(await nodeTime('', '/')(1)).toBeGreaterThan(5)
  })

  it('show what a module keeps on the heap', async () => {
    const bare = await nodeHeap('', '/')(1)
    const kept = await nodeHeap('globalThis.kept = Array.from({ length: 1e5 }, (_, index) => ({ index }))', '/')(1)
    const dropped = await nodeHeap('Array.from({ length: 1e5 }, (_, index) => ({ index }))', '/')(1)
    expect(kept - bare).toBeGreaterThan(2e6)
    // V8 differs by itself, by up to 80 kB; what was dropped is 4 MB.
    expect(Math.abs(dropped - bare)).toBeLessThan(3e5)
  })

  it('tell a number', async () => {
    expect(await nodeNumber('process.stdout.write("42")', '/')(1)).toBe(42)
  })

  it('that fail, fail the bench', () => {
    expect(() => nodeTime('throw new Error("broken on purpose")', '/')(1)).toThrow('broken on purpose')
  })
})
