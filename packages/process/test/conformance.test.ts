import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { conformance, shellCommand } from '@vmkit/conformance'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { processDriver } from '../src/driver.js'

const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-process-conformance-'))
afterAll(() => rmSync(stateDir, { recursive: true, force: true }))

conformance({
  runner: { describe, it, before: beforeAll, after: afterAll },
  createDriver: () => processDriver({ stateDir }),
  child: { module: fileURLToPath(new URL('../dist/driver.js', import.meta.url)), export: 'processDriver', options: { stateDir } },
  machine: (work) => ({ command: shellCommand(work) }),
})
