/** Folders of machines whose maker, or remover, was killed on the way, or whose container somebody else removed. */
import { readdirSync, readFileSync, rmdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { CallContext } from '@vmkit/core/driver'
import { claimsOn } from './claims.js'
import { listContainers } from './grpc/list-containers.js'
import type { Host, Machine } from './host.js'
import { LABEL } from './record.js'
import { GONE, machineFolder } from './state-dir.js'
import { sweepVolumes } from './volumes.js'

/** Between a folder and the claim in it lies no more than this. */
const CLAIMED_MS = 10_000

/**
 * A folder goes when no container knows it, and the claim on it is that of a dead process, or it was made whole and nobody works on it.
 * The claims are looked at before the containers: whoever lets go of one has made its container by then. Snapshot and lease, if there were any, go first.
 * `machines`: those of a moment ago, which spares the look at most folders.
 */
export async function sweepOrphans(host: Host, machines: readonly Machine[], ctx: CallContext): Promise<void> {
  sweepVolumes(host)
  const before = new Set(machines.map(({ uid }) => uid))
  const candidates = foldersOf(host).filter((name) => !before.has(name) && isAbandoned(host, name))
  if (candidates.length === 0) return
  const now = await knownUids(host, ctx)
  const orphans = candidates.filter((candidate) => !now.has(candidate))
  if (orphans.length === 0) return
  // Loaded here: what a machine leaves behind takes nearly all of the driver to remove, and there is hardly ever one.
  const { removeOrphan } = await import('./orphan.js')
  for (const uid of orphans) await removeOrphan(host, uid, ctx)
}

/** Of all drivers in this namespace, which may share the folder. */
async function knownUids(host: Host, ctx: CallContext): Promise<Set<string | undefined>> {
  const containers = await listContainers(await host.looking(), `labels."${LABEL.uid}"`, ctx)
  return new Set(containers.map(({ labels }) => labels[LABEL.uid]))
}

function foldersOf(host: Host): string[] {
  try {
    return readdirSync(join(host.root, 'machines'))
  } catch {
    return []
  }
}

function isAbandoned(host: Host, name: string): boolean {
  const { path, daemon } = machineFolder(host.root, name)
  try {
    if (name.startsWith(GONE)) {
      rmSync(path, { recursive: true, force: true })
      return false
    }
    const claims = claimsOn(path)
    if (claims === 'dead') return true
    if (claims === 'none' && readdirSync(path).length > 0) return readFileSync(daemon, 'utf8') === host.options.socketPath
    // Made, and its maker killed before the claim was in it. Of one that is in use this fails.
    if (Date.now() - statSync(path).mtimeMs > CLAIMED_MS) rmdirSync(path)
    return false
  } catch {
    return false
  }
}
