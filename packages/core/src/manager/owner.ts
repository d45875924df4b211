import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { RESERVED_LABEL_PREFIX } from '../config/schema.js'

/** What happens to a machine when its handle or manager is disposed of. */
export type DisposePolicy = 'delete' | 'stop' | 'detach'

const LABEL = {
  host: `${RESERVED_LABEL_PREFIX}owner.host`,
  boot: `${RESERVED_LABEL_PREFIX}owner.boot`,
  pid: `${RESERVED_LABEL_PREFIX}owner.pid`,
  start: `${RESERVED_LABEL_PREFIX}owner.start`,
  dispose: `${RESERVED_LABEL_PREFIX}dispose`,
  expires: `${RESERVED_LABEL_PREFIX}expires`,
} as const

interface Process {
  host: string
  /** Changes with every boot; empty where the system has none. */
  boot: string
  pid: string
  /** Start time in clock ticks since boot: tells a reused pid apart. Empty where the system has none. */
  start: string
}

let self: Process | undefined

function thisProcess(): Process {
  self ??= { host: hostname(), boot: bootId(), pid: String(process.pid), start: startTime(process.pid) ?? '' }
  return self
}

/** The labels that say who made a machine, what should become of it, and when it expires. */
export function ownerLabels(policy: DisposePolicy, ttl: number | undefined): Record<string, string> {
  const { host, boot, pid, start } = thisProcess()
  return {
    [LABEL.host]: host,
    [LABEL.boot]: boot,
    [LABEL.pid]: pid,
    [LABEL.start]: start,
    [LABEL.dispose]: policy,
    ...(ttl === undefined ? {} : { [LABEL.expires]: String(Date.now() + ttl) }),
  }
}

/** Labels as users set them, without vmkit's own. */
export function userLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !key.startsWith(RESERVED_LABEL_PREFIX)))
}

/** Why a machine with these labels may be swept; `undefined` when it may not. */
export function sweepReason(labels: Readonly<Record<string, string>>, now: number): string | undefined {
  const expires = labels[LABEL.expires] ?? ''
  if (/^\d+(\.\d+)?$/.test(expires) && Number(expires) <= now) return 'its ttl is over'
  if (labels[LABEL.dispose] !== 'delete') return undefined
  const current = thisProcess()
  if (labels[LABEL.host] !== current.host) return undefined
  if (labels[LABEL.boot] !== current.boot) return 'its owner ended with the last boot of this host'
  const pid = Number(labels[LABEL.pid])
  return isAlive(pid, labels[LABEL.start] ?? '') ? undefined : `its owner, process ${pid}, is gone`
}

function isAlive(pid: number, start: string): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  if (start !== '') return startTime(pid) === start
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function bootId(): string {
  return read('/proc/sys/kernel/random/boot_id')?.trim() ?? ''
}

/** Field 22 of /proc/PID/stat (proc_pid_stat(5)); the name in field 2 may hold spaces and parentheses. */
function startTime(pid: number): string | undefined {
  const stat = read(`/proc/${pid}/stat`)
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
