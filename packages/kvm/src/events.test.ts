import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { readEvents } from './events.js'
import { makeHost } from './host.js'
import { resolveOptions } from './options.js'
import { record } from './state/journal.js'

it('a reader that comes late hears of the end of a machine that is deleted by then', async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-kvm-events-'))
  const reader = readEvents(makeHost(resolveOptions({ stateDir })), AbortSignal.timeout(50_000))
  try {
    const first = reader.next()
    const machine = { id: '0123456789ab', name: 'short' }
    record(stateDir, machine, { type: 'started', run: 1 })
    record(stateDir, machine, { type: 'stopped', run: 1, exit: { code: 0, signal: null, oom: false, reason: 'exited', at: 1 } })
    record(stateDir, machine, { type: 'deleted' })
    const told = [await first, await reader.next(), await reader.next()]
    expect(told.map(({ value }) => value?.type)).toEqual(['started', 'stopped', 'deleted'])
  } finally {
    await reader.return(undefined)
    rmSync(stateDir, { recursive: true })
  }
})
