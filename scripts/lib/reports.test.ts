import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { describeReports, readReports, unexplained } from './reports.js'

describe('engine reports', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vmkit-reports-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it('names an engine that was not tested, and why', () => {
    const text = describeReports([{ driver: 'docker', tested: false, reason: 'no socket' }])
    expect(text).toMatch(/docker +NOT TESTED +no socket/)
  })

  it('says what was refused and skipped, with reasons', () => {
    const text = describeReports([
      {
        driver: 'process',
        variant: 'user',
        tested: true,
        passed: 3,
        refused: [{ capability: 'pause', reason: 'no freezer' }],
        skipped: [{ test: 'tty', reason: 'no script' }],
      },
    ])
    expect(text).toContain('3 passed, 0 failed, 1 not run, 1 refused')
    expect(text).toContain('process (user) refuses pause: no freezer')
    expect(text).toContain('process (user) did not run 1: no script')
  })

  it('reads every report of a folder', async () => {
    await writeFile(join(folder, 'docker-28.json'), JSON.stringify({ driver: 'docker', variant: '28', tested: true, passed: 1 }))
    expect(await readReports([folder])).toContainEqual({ driver: 'docker', variant: '28', tested: true, passed: 1 })
  })

  it('finds skips that nobody explains', () => {
    const reports = [{ driver: 'mock', tested: true, skipped: [{ test: 'exec: a terminal', reason: 'none here' }] }]
    expect(unexplained(['conformance of mock exec a terminal', 'a forgotten one'], reports)).toEqual(['a forgotten one'])
  })
})
