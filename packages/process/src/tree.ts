/** All processes of a machine: what main started, wherever it went, and what exec started. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { hasEnded, isAlive, type ProcessStat, readStat, signalProcess } from '@vmkit/core/state-folder'
import { cgroupOf, cgroupPids } from './machine-cgroup.js'
import { hasEnvironment, processesSince } from './proc.js'
import type { Run } from './run.js'
import type { Machine } from './store.js'

/** Set in the environment of everything a machine runs. */
export const MARKER = 'VMKIT_PROCESS_ID'

/**
 * The live members: main's session, everything with the marker, and the descendants of both. A daemon that left the session
 * still has the marker or an ancestor. What leaves both, with a wiped environment and a dead parent, is known only where
 * there is a cgroup.
 */
export function membersOf(machine: Machine, run: Run): ProcessStat[] {
  const { main, supervisor } = run
  const first = supervisor ?? main
  if (!first) return []
  const isMain = (stat: ProcessStat): boolean => stat.pid === main?.pid && stat.start === main.start
  // Main is in the session of its supervisor until it has its own. What a dead supervisor left there goes too.
  const kept = supervisor && isAlive(supervisor) ? supervisor.pid : undefined
  const candidates = processesSince(first).filter((stat) => !hasEnded(stat) && (stat.session !== kept || isMain(stat)))
  const mainAlive = main !== undefined && isAlive(main)
  const isMember = (stat: ProcessStat): boolean =>
    isMain(stat) ||
    (main !== undefined && stat.session === main.pid && (mainAlive || stat.start <= (run.ended?.ticks ?? 0))) ||
    hasEnvironment(stat.pid, `${MARKER}=${machine.id}`)
  const members = withDescendants(candidates, isMember)
  const cgroup = cgroupOf(machine)
  if (!cgroup) return members
  const known = new Set(members.map(({ pid }) => pid))
  const others = cgroupPids(cgroup)
    .filter((pid) => !known.has(pid))
    .map(readStat)
  return [...members, ...(others.filter((stat) => stat !== undefined && !hasEnded(stat)) as ProcessStat[])]
}

/** A command beside main, with all it started. Its session counts only while it lives: later the number may be another's. */
export function execMembers(root: ProcessStat | undefined, marker: string): ProcessStat[] {
  if (!root) return []
  const alive = isAlive(root)
  const candidates = processesSince(root).filter((stat) => !hasEnded(stat))
  return withDescendants(candidates, (stat) => (alive && stat.session === root.pid) || hasEnvironment(stat.pid, marker))
}

/** Those that `isMember` names, and all that came from them. */
export function withDescendants(candidates: readonly ProcessStat[], isMember: (stat: ProcessStat) => boolean): ProcessStat[] {
  const members = new Map(candidates.filter(isMember).map((stat) => [stat.pid, stat]))
  for (let before = -1; before !== members.size; ) {
    before = members.size
    for (const stat of candidates) if (members.has(stat.parent)) members.set(stat.pid, stat)
  }
  return [...members.values()]
}

const SETTLE_MS = 1

/** Kills until nothing is left: what a fork bomb makes between two looks is found by the next. */
export async function killAll(find: () => ProcessStat[], signal: AbortSignal, killGroups = (): void => {}): Promise<void> {
  for (let wait = SETTLE_MS; !signal.aborted; wait = Math.min(wait * 2, 50)) {
    const members = find()
    if (members.length === 0) return
    killGroups()
    for (const member of members) signalProcess(member, 'SIGKILL')
    await new Promise((resolve) => setTimeout(resolve, wait))
  }
  signal.throwIfAborted()
}

/** After main has ended: what it left behind goes too. Done once for each run. */
export async function sweep(machine: Machine, run: Run, signal: AbortSignal): Promise<void> {
  if (run.swept) return
  if (!run.earlierBoot) await killAll(() => membersOf(machine, run), signal)
  writeFileSync(join(machine.folder, `swept.${run.number}`), '')
}
