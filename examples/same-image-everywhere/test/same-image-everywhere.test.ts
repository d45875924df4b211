import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))

/** The engine of `scripts/backends`; the environment goes first. */
function engineSocket(): string | undefined {
  if (process.env.VMKIT_DOCKER_SOCKET) return process.env.VMKIT_DOCKER_SOCKET
  const script = fileURLToPath(new URL('../../../scripts/backends', import.meta.url))
  const lines = execFileSync(script, ['env'], { encoding: 'utf8' }).split('\n')
  const path = lines.find((line) => line.startsWith('VMKIT_DOCKER_SOCKET='))?.split('=')[1]
  return [path, '/var/run/docker.sock'].find((candidate) => candidate !== undefined && existsSync(candidate))
}

const socket = engineSocket()
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
