import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openWorkshop, ROOT, run, type Workshop } from './apps.js'
import { bundlers } from './bundlers.js'

let workshop: Workshop
beforeAll(async () => {
  workshop = await openWorkshop()
}, 120_000)
afterAll(() => workshop?.remove())

describe('a strict TypeScript app', () => {
  let app: string
  beforeAll(async () => {
    app = await workshop.app('typescript', ['core', 'conformance', 'docker', 'kvm', 'mock', 'oci', 'process'], '@types/node@20')
  }, 120_000)

  // Of all declarations from nothing: some 10 s of a processor, which others may have.
  it.each(['typescript', 'typescript7'])('compiles with %s', { timeout: 120_000 }, async (compiler) => {
    expect(await run(app, [join(ROOT, 'node_modules', compiler, 'bin/tsc'), '-p', '.'])).toBe('')
  })

  it('runs with all drivers registered', async () => {
    expect(JSON.parse(await run(app, ['out/main.js']))).toEqual({
      drivers: ['docker', 'kvm', 'mock', 'process'],
      state: 'running',
      errorClass: 'VMKitError',
    })
  })

  it('is told about a type-only import of a driver', async () => {
    const { code, hint } = JSON.parse(await run(app, ['out/type-only.js']))
    expect(code).toBe('NOT_FOUND')
    expect(hint).toContain("add: import '@vmkit/process'")
  })

  it('may require() from TypeScript', async () => {
    expect(JSON.parse(await run(app, ['out/required.cjs']))).toEqual(['function', true])
  })
})

describe('a CommonJS app', () => {
  it('requires core and a driver', async () => {
    const app = await workshop.app('commonjs', ['core', 'process'])
    expect(JSON.parse(await run(app, ['main.cjs']))).toEqual({ createManager: 'function', drivers: ['process'] })
  }, 120_000)
})

describe('a bundled app', () => {
  let app: string
  beforeAll(async () => {
    app = await workshop.app('bundled', ['core', 'docker', 'kvm', 'mock', 'oci', 'process'])
  }, 120_000)

  it.each(Object.keys(bundlers))('keeps bare imports of drivers with %s', { timeout: 120_000 }, async (name) => {
    const entry = await bundlers[name]?.(app)
    expect(JSON.parse(await run(app, [entry ?? '']))).toEqual({ drivers: ['docker', 'kvm', 'mock', 'process'], state: 'running' })
  })
})
