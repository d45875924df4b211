import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Concern, conformance, shellCommand } from '@vmkit/conformance'
import { processDriver } from '@vmkit/process/driver'
import { describe, it } from 'vitest'
import { miniRunner, type Outcome } from './mini-runner.js'

/** Runs one concern on the process driver; its child processes keep their machines in the second folder. */
async function run(concern: Concern, child: 'sees the same' | 'sees others'): Promise<Outcome> {
  const folders = await Promise.all([mkdtemp(join(tmpdir(), 'vmkit-kit-')), mkdtemp(join(tmpdir(), 'vmkit-kit-'))])
  const [stateDir, other] = folders as [string, string]
  const { runner, run: start } = miniRunner()
  conformance({
    runner,
    createDriver: () => processDriver({ stateDir }),
    child: {
      module: '@vmkit/process/driver',
      export: 'processDriver',
      options: { stateDir: child === 'sees the same' ? stateDir : other },
    },
    machine: (workload) => ({ command: shellCommand(workload) }),
    only: [concern],
    patience: child === 'sees the same' ? 1 : 0.3,
    print: () => {},
  })
  try {
    return await start()
  } finally {
    for (const folder of folders) {
      const driver = processDriver({ stateDir: folder })
      const ctx = { signal: new AbortController().signal, deadline: undefined, report: () => {} }
      for (const { id } of await driver.list({}, ctx)) await driver.delete(id, { force: true }, ctx)
      await driver.close()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

// Dozens of processes, one after the other; and what a broken driver never does is waited for.
describe('a driver whose processes do not see each other', { timeout: 240_000 }, () => {
  it('fails where a new process must find what a crash left', async () => {
    const { failed } = await run('crash', 'sees others')
    for (const title of [
      'an exit that no process saw is known afterwards, or null',
      'SIGKILL in the middle of start',
      'SIGKILL in the middle of stop',
    ]) {
      assert.ok(failed.has(`crash: ${title}`), `${title}: ${JSON.stringify([...failed])}`)
    }
  })

  it('fails where two processes must agree', async () => {
    const { failed } = await run('processes', 'sees others')
    for (const title of [
      'start against start',
      'stop against stop',
      'delete against delete',
      'two processes make twenty machines at a time',
    ]) {
      assert.ok(failed.has(`processes: ${title}`), `${title}: ${JSON.stringify([...failed])}`)
    }
  })

  it('is told apart from one whose processes do', async () => {
    const { failed } = await run('sweep', 'sees the same')
    assert.deepEqual([...failed], [])
  })
})
