import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, it, vi } from 'vitest'
import { runKit } from './run-kit.js'

const away = { probe: async () => ({ available: false, reason: 'no engine at /run/none.sock', missing: {} }) }

describe('the report', () => {
  afterEach(() => void vi.unstubAllEnvs())

  it('has no failure for a driver that keeps its promises, and names every test that was not run', { timeout: 240_000 }, async () => {
    const { failed, passed, skipped, report, text } = await runKit(() => ({}), { patience: 1 })
    assert.deepEqual([...failed], [])
    assert.deepEqual(report.failed, [])
    assert.ok(passed.length > 150)
    assert.deepEqual(report.skipped.map(({ test }) => test).sort(), skipped.sort())
    for (const { test, reason } of report.skipped) assert.ok(reason.length > 5 && text.includes(test) && text.includes(reason), test)
    assert.ok(report.refused.some(({ capability, reason }) => capability === 'vnc' && reason.length > 5))
    assert.match(text, /conformance of mock on mock: \d+ passed, 0 failed, \d+ not run \(seed \d+\)/)
  })

  it('is written where VMKIT_REPORT_DIR says', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vmkit-report-'))
    vi.stubEnv('VMKIT_REPORT_DIR', folder)
    try {
      const { report } = await runKit(() => ({}), { only: ['manifest'], variant: 'second one' })
      const stored = JSON.parse(await readFile(join(folder, 'mock-second_one.json'), 'utf8'))
      assert.deepEqual(stored, JSON.parse(JSON.stringify(report)))
      assert.deepEqual(
        [stored.driver, stored.variant, stored.engine, stored.tested, stored.reason],
        ['mock', 'second one', 'mock', true, null],
      )
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('says that an engine that is not there was not tested, and why', async () => {
    vi.stubEnv('VMKIT_REQUIRE_BACKENDS', '')
    const { failed, report, text } = await runKit(() => away, { only: ['lifecycle'] })
    assert.equal(failed.size, 0)
    assert.deepEqual([report.tested, report.reason, report.passed], [false, 'no engine at /run/none.sock', 0])
    assert.match(text, /NOT TESTED: no engine at \/run\/none\.sock/)
  })

  it('fails for an engine that is not there when all are required', async () => {
    vi.stubEnv('VMKIT_REQUIRE_BACKENDS', '1')
    const { failed } = await runKit(() => away, { only: ['lifecycle'] })
    assert.match(failed.get('has its backend on this host') ?? '', /no engine at \/run\/none\.sock/)
  })
})
