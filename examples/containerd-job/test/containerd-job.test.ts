import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { backendPath } from '../../../scripts/lib/backends.js'

const main = fileURLToPath(new URL('../src/job.ts', import.meta.url))

const socket = backendPath('VMKIT_CONTAINERD_SOCKET')
if (socket === undefined && process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error('no containerd: scripts/backends up starts one')
const why = socket === undefined ? ' (not run: no containerd; scripts/backends up starts one)' : ''

it.skipIf(socket === undefined)(`runs a job, reads its result, and leaves nothing${why}`, async () => {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  const stateDir = await mkdtemp(join(tmpdir(), 'containerd-job-state-'))
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', import.meta.resolve('tsx'), main], {
    env: { ...env, VMKIT_CONTAINERD_SOCKET: socket, VMKIT_STATE_DIR: stateDir },
  })
  expect(stdout).toBe('stdout the sum is 42\nexit 3, result 42\n')
  expect(await readdir(join(stateDir, 'containerd-job/machines'))).toEqual([])
  await rm(stateDir, { recursive: true })
})
