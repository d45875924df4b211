import { existsSync } from 'node:fs'
import { chmod, copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import '@vmkit/containerd'
import { createManager } from '@vmkit/core'
import { imageFromFolder, writeArchive } from '@vmkit/oci'
import { backendPath } from '../../../scripts/lib/backends.js'

export const NAMESPACE = 'vmkit-bench'
export const IMAGE = 'vmkit-bench/busybox:1'

export const managerAt = (options: { socketPath?: string; namespace?: string; stateDir?: string }) =>
  createManager({ drivers: { containerd: options } })
export type ContainerdManager = ReturnType<typeof managerAt>
export type ContainerdHandle = ReturnType<typeof containerdOf>

export const containerdOf = (manager: ContainerdManager) => manager.driver('containerd')

/** The socket of a real daemon, or why there is none that can be measured. */
export async function findEngine(): Promise<{ socketPath: string } | { reason: string }> {
  const socketPath = backendPath('VMKIT_CONTAINERD_SOCKET')
  if (socketPath === undefined) return { reason: 'no containerd; scripts/backends up starts one' }
  return busybox() === undefined ? { reason: 'its image needs busybox-static' } : { socketPath }
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
