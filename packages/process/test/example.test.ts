import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

it('the example of the README does what it says', () => {
  const state = mkdtempSync(join(tmpdir(), 'vmkit-process-example-'))
  try {
    const file = fileURLToPath(new URL('example.ts', import.meta.url))
    const out = execFileSync(process.execPath, ['--import', 'tsx', file], {
      encoding: 'utf8',
      env: { ...process.env, XDG_STATE_HOME: state },
    })
    expect(out).toBe('test\n3\n')
  } finally {
    rmSync(state, { recursive: true })
  }
})
