/** What snapshots and migrations ask a live QEMU. */
import { VMKitError } from '@vmkit/core/driver'
import { ownDisks } from '../disk/own-disks.js'
import { DRIVER } from '../errors.js'
import type { Qmp } from '../qmp/client.js'
import type { Machine } from '../state/store.js'

/** `pc-q35-7.2`, where the command line said `q35`: a later QEMU means another machine by that. */
export async function versionedName(qmp: Qmp): Promise<string> {
  const type = await qmp.execute<string>('qom-get', { path: '/machine', property: 'type' })
  return type.replace(/-machine$/, '')
}

/**
 * QEMU 7.2 saves a machine that stands still since it was saved only after it ran again, be it for an instant.
 * @returns whether the guest runs
 */
export async function readyToMigrate(qmp: Qmp): Promise<boolean> {
  const { status } = await qmp.execute<{ status: string }>('query-status')
  if (status !== 'postmigrate') return status === 'running'
  await qmp.execute('cont')
  await qmp.execute('stop')
  return false
}

interface BlockInfo {
  qdev?: string
  inserted?: { file: string; 'node-name': string }
}

export interface LiveTop {
  /** Bare name in the machine's folder. */
  file: string
  node: string
}

/** What QEMU really writes to, by disk. */
export async function liveTops(machine: Machine, qmp: Qmp): Promise<Record<string, LiveTop>> {
  const blocks = await qmp.execute<BlockInfo[]>('query-block')
  return Object.fromEntries(
    ownDisks(machine).map(({ id }) => {
      const found = blocks.find(({ qdev }) => qdev?.split('/').includes(`${id}-device`))?.inserted
      if (!found) throw new VMKitError('BACKEND_ERROR', `QEMU does not know the disk ${id}`, { driver: DRIVER, vmId: machine.id })
      return [id, { file: found.file, node: found['node-name'] }]
    }),
  )
}
