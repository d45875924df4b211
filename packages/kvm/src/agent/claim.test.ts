import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { claimPort } from './claim.js'

it('a port that is let go of twice stays with the one who took it in between', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vmkit-kvm-claim-'))
  try {
    const first = claimPort(folder)
    first?.release()
    const second = claimPort(folder)
    first?.release()
    expect([first, second, claimPort(folder)].map((claim) => claim?.port)).toEqual([0, 0, 1])
  } finally {
    rmSync(folder, { recursive: true })
  }
})
