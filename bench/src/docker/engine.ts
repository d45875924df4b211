import { existsSync } from 'node:fs'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import '@vmkit/docker'
import { createManager } from '@vmkit/core'
import { backendPath } from '../../../scripts/lib/backends.js'

const UNIX = 'unix://'

export const managerAt = (socketPath?: string) => createManager({ drivers: { docker: socketPath === undefined ? {} : { socketPath } } })
export type DockerManager = ReturnType<typeof managerAt>
export type DockerHandle = ReturnType<typeof dockerOf>

export const dockerOf = (manager: DockerManager) => manager.driver('docker')

/** The socket of a real engine, ours or the one that the driver finds, or why there is none that can be measured. */
export async function findEngine(): Promise<{ socketPath: string } | { reason: string }> {
  const manager = managerAt(backendPath('VMKIT_DOCKER_SOCKET'))
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
