import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { VMKitError } from '../src/errors.js'
import { registerDriver, registeredDrivers } from '../src/registry.js'

describe('two installed copies of core', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vmkit-core-copy-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('know each other by brand and share one registry', async () => {
    cpSync(new URL('../dist', import.meta.url), join(folder, 'dist'), { recursive: true })
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
    const copy = (await import(/* @vite-ignore */ pathToFileURL(join(folder, 'dist/index.js')).href)) as typeof import('../src/index.js')
    expect(copy.VMKitError).not.toBe(VMKitError)
    expect(new copy.VMKitError('ABORTED', '') instanceof VMKitError).toBe(true)
    expect(new VMKitError('ABORTED', '') instanceof copy.VMKitError).toBe(true)
    expect(VMKitError.from(new copy.VMKitError('ABORTED', ''), { driver: 'a' })).toMatchObject({ code: 'ABORTED', driver: 'a' })
    const name = 'shared-by-copies'
    copy.registerDriver({
      name,
      apiVersion: 1,
      package: 'p',
      capabilities: {},
      create: () => {
        throw new Error('not made here')
      },
    })
    expect(registeredDrivers().map((module) => module.name)).toContain(name)
    expect(() => registerDriver({ name, apiVersion: 1, package: 'rival', capabilities: {}, create: () => ({}) as never })).toThrow(
      /taken by p; rival/,
    )
  })
})
