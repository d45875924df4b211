import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import '@vmkit/containerd'
import { createManager } from '@vmkit/core'
import { imageFromFolder, writeArchive } from '@vmkit/oci'

const BACKENDS = fileURLToPath(new URL('../../../scripts/backends', import.meta.url))

export const NAMESPACE = 'vmkit-bench'
export const IMAGE = 'vmkit-bench/busybox:1'

export const managerAt = (options: { socketPath?: string; namespace?: string; stateDir?: string }) =>
  createManager({ drivers: { containerd: options } })
export type ContainerdManager = ReturnType<typeof managerAt>
export type ContainerdHandle = ReturnType<typeof containerdOf>

export const containerdOf = (manager: ContainerdManager) => manager.driver('containerd')

/** The socket of a real daemon, or why there is none that can be measured. */
export async function findEngine(): Promise<{ socketPath: string } | { reason: string }> {
  const socketPath = backendLine('VMKIT_CONTAINERD_SOCKET')
  if (socketPath === undefined || !existsSync(socketPath)) return { reason: 'no containerd; scripts/backends up starts one' }
  return busybox() === undefined ? { reason: 'its image needs busybox-static' } : { socketPath }
}

/** What `scripts/backends env` says; the environment goes first. */
export function backendLine(name: string): string | undefined {
  if (process.env[name]) return process.env[name]
  try {
    const lines = execFileSync(BACKENDS, ['env'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')
    return lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1)
  } catch {
    // It is made for Debian; elsewhere a daemon may run all the same.
    return undefined
  }
}

function busybox(): string | undefined {
  return ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file))
}

/** An image with `/bin/true` and `/bin/sleep` in it. */
export async function importImage(containerd: ContainerdHandle): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'vmkit-bench-image-'))
  try {
    await chmod(folder, 0o755)
    await mkdir(join(folder, 'bin'))
    for (const name of ['true', 'sleep']) await copyFile(busybox() as string, join(folder, 'bin', name))
    await using source = await imageFromFolder(folder, { config: { Cmd: ['/bin/true'] }, reference: IMAGE, ownership: 'root' })
    await containerd.images.import(writeArchive(source), { reference: IMAGE })
  } finally {
    await rm(folder, { recursive: true })
  }
}
