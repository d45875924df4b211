import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import * as nodeTest from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Runner } from '@vmkit/conformance'
import * as vitest from 'vitest'

// That these compile is the test: both runners fit as they are.
const runners: Runner[] = [
  { describe: vitest.describe, it: vitest.it, before: vitest.beforeAll, after: vitest.afterAll },
  { describe: nodeTest.describe, it: nodeTest.it, before: nodeTest.before, after: nodeTest.after },
]

vitest.it('runs in node:test, whose own count shows what was not run', async () => {
  assert.equal(runners.length, 2)
  const { NODE_OPTIONS: _options, NODE_TEST_CONTEXT: _context, ...env } = process.env
  const script = fileURLToPath(new URL('with-node-test.mjs', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--test', '--test-reporter=tap', script], { env })
  const [, skipped] = /^# skipped (\d+)$/m.exec(stdout) ?? []
  const [, printed] = /0 failed, (\d+) not run/.exec(stdout) ?? []
  assert.equal(skipped, printed, stdout)
  assert.match(stdout, /^# fail 0$/m)
})
