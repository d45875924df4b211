/** Takes the second engine away, and brings back whatever of the backends does not run. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { engineSocket } from './engine.js'

const BACKENDS = join(import.meta.dirname, '../../../scripts/backends')

/** Ends dockerd as an init system would, and waits until it is gone. */
export async function stopNext(): Promise<void> {
  const folder = dirname(engineSocket('VMKIT_DOCKER_NEXT_SOCKET', false) ?? '')
  const pid = Number(await readFile(join(folder, 'dockerd.pid'), 'utf8'))
  process.kill(pid, 'SIGTERM')
  while (existsSync(`/proc/${pid}`)) await sleep(20)
}

export async function startBackends(): Promise<void> {
  await promisify(execFile)(BACKENDS, ['up'])
}
