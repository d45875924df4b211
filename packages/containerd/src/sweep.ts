/** Folders of machines whose maker, or remover, was killed on the way. */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { CallContext } from '@vmkit/core/driver'
import { unmountFolder } from './files/mount.js'
import { type Host, listMachines } from './host.js'
import { claimsOn } from './lock.js'
import { releaseNetworkOf } from './net/connect.js'
import { machineFolder } from './state-dir.js'

/**
 * A folder goes when the claim on it is that of a dead process and no container knows it. Claims are looked at first: whoever
 * lets go of one has made its container by then. The snapshot, if there was one, is the garbage collector's.
 */
export async function sweepOrphans(host: Host, ctx: CallContext): Promise<void> {
  const candidates = folders(host.root).filter((uid) => isAbandoned(machineFolder(host.root, uid).path))
  if (candidates.length === 0) return
  const known = new Set((await listMachines(host, ctx)).map(({ uid }) => uid))
  for (const uid of candidates.filter((candidate) => !known.has(candidate))) {
    const folder = machineFolder(host.root, uid)
    await releaseNetworkOf(host, folder, uid)
    await unmountFolder(folder)
    rmSync(folder.path, { recursive: true, force: true })
  }
}

function folders(root: string): string[] {
  try {
    return readdirSync(join(root, 'machines'))
  } catch {
    return []
  }
}

function isAbandoned(path: string): boolean {
  try {
    return claimsOn(path) === 'dead'
  } catch {
    return false
  }
}
