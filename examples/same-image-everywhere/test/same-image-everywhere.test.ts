import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { backendPath } from '../../../scripts/lib/backends.js'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))

const socket = [backendPath('VMKIT_DOCKER_SOCKET'), '/var/run/docker.sock'].find((path) => path !== undefined && existsSync(path))
const hasQemu = (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, 'qemu-system-x86_64')))
const missing = socket === undefined ? 'Docker engine' : hasQemu ? undefined : 'QEMU'
if (missing !== undefined && process.env.VMKIT_REQUIRE_BACKENDS === '1') throw new Error(`no ${missing}: scripts/backends up starts one`)
const why = missing === undefined ? '' : ` (not run: no ${missing}; scripts/backends up starts one)`

it.skipIf(missing !== undefined)(`runs one image on Docker and QEMU${why}`, { timeout: 120_000 }, async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'same-image-state-'))
  try {
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', import.meta.resolve('tsx'), main], {
      env: { ...env, VMKIT_DOCKER_SOCKET: socket, VMKIT_KVM_STATE: stateDir },
    })
    const lines = stdout.trim().split('\n')
    expect(lines.map((line) => line.replace(/Linux \S+,/, 'Linux,'))).toEqual(
      ['docker', 'kvm'].flatMap((driver) => [`${driver}: hello from anywhere: Linux, user 1000, in /bin`, `${driver}: exit code 7`]),
    )
    const kernels = lines.flatMap((line) => /Linux (\S+),/.exec(line)?.[1] ?? [])
    expect(kernels[0], 'a virtual machine has a kernel of its own').not.toBe(kernels[1])
  } finally {
    rmSync(stateDir, { recursive: true })
  }
})
