import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Identity, identify } from '@vmkit/core/state-folder'
import { afterAll, expect, it } from 'vitest'
import { machineFolder } from '../state/machine-folder.js'
import { isGroupAlive } from '../state/proc.js'
import { endDaemons, endUnknownDaemons } from './daemons.js'

const stateDir = mkdtempSync(join(tmpdir(), 'vmkit-kvm-daemons-'))
afterAll(() => rmSync(stateDir, { recursive: true }))
const folder = machineFolder(stateDir, '000000000001')

/** In a session of its own, as virtiofsd; what it forks is in its group. */
async function forking(): Promise<Identity> {
  const script = 'i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done; echo ready; wait'
  const socket = `--socket-path=${join(folder.path, 'fs0.sock')}`
  const child = spawn('sh', ['-c', script, 'sh', socket], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
  await once(child.stdout, 'data')
  const daemon = identify(child.pid as number)
  if (!daemon) throw new Error('it did not start')
  expect(isGroupAlive(daemon.pid)).toBe(true)
  return daemon
}

it('what a daemon forked has ended with it, when its end is awaited', async () => {
  const daemon = await forking()
  await endDaemons(folder, [daemon], true)
  expect(isGroupAlive(daemon.pid)).toBe(false)
})

it('so has one that nobody wrote down', async () => {
  const daemon = await forking()
  await endUnknownDaemons(folder, { shares: [{ tag: 'fs0', source: '/', readOnly: false, socket: 'fs0.sock' }] })
  expect(isGroupAlive(daemon.pid)).toBe(false)
})
