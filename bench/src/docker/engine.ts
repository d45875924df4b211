import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import '@vmkit/docker'
import { createManager } from '@vmkit/core'

const BACKENDS = fileURLToPath(new URL('../../../scripts/backends', import.meta.url))
const UNIX = 'unix://'

export const managerAt = (socketPath?: string) => createManager({ drivers: { docker: socketPath === undefined ? {} : { socketPath } } })
export type DockerManager = ReturnType<typeof managerAt>
export type DockerHandle = ReturnType<typeof dockerOf>

export const dockerOf = (manager: DockerManager) => manager.driver('docker')

/** The socket of a real engine, or why there is none that can be measured. */
export async function findEngine(): Promise<{ socketPath: string } | { reason: string }> {
  const manager = managerAt(backendSocket())
  try {
    const { available, reason, details } = await dockerOf(manager).probe()
    if (!available) return { reason: reason ?? 'the probe gives no reason' }
    const endpoint = String(details?.endpoint)
    if (!endpoint.startsWith(UNIX)) return { reason: `the raw API is called over a UNIX socket only, and the engine is at ${endpoint}` }
    return busybox() === undefined ? { reason: 'its image needs busybox-static' } : { socketPath: endpoint.slice(UNIX.length) }
  } finally {
    await manager.close()
  }
}

/** The engine that the environment names, or that of `scripts/backends`; `undefined` lets the driver look for one. */
function backendSocket(): string | undefined {
  const named =
    process.env.VMKIT_DOCKER_SOCKET ||
    backendLines()
      .find((line) => line.startsWith('VMKIT_DOCKER_SOCKET='))
      ?.split('=')[1]
  return named !== undefined && existsSync(named) ? named : undefined
}

function backendLines(): string[] {
  try {
    return execFileSync(BACKENDS, ['env'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')
  } catch {
    // It is made for Debian; elsewhere an engine may run all the same.
    return []
  }
}

function busybox(): string | undefined {
  return ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file))
}

/** Builds an image with `/bin/true` and `/bin/sleep` in it, and returns its name. */
export async function buildImage(docker: DockerHandle): Promise<string> {
  const context = await mkdtemp(join(tmpdir(), 'vmkit-bench-image-'))
  try {
    await copyFile(busybox() as string, join(context, 'busybox'))
    await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nCOPY busybox /bin/true\nCOPY busybox /bin/sleep\n')
    const { reference } = await docker.build({ context, tag: `vmkit-bench:${process.pid}` })
    return reference
  } finally {
    await rm(context, { recursive: true })
  }
}
