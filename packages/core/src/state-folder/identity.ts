import { readFileSync } from 'node:fs'
import { hasEnded, readStat } from './process-stat.js'

/** Names a process for as long as the host's memory goes: across pid reuse and reboots. */
export interface Identity {
  pid: number
  /** Clock ticks since boot. */
  start: number
  /** The host's boot, 32 hexadecimal digits. */
  boot: string
}

let boot: string | undefined

export function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim().replaceAll('-', '')
  return boot
}

let self: Identity | undefined

/** This process. */
export function ownIdentity(): Identity {
  self ??= { pid: process.pid, start: readStat('self')?.start ?? 0, boot: bootId() }
  return self
}

/** `undefined` when there is no such process. */
export function identify(pid: number): Identity | undefined {
  const stat = readStat(pid)
  return stat && { pid, start: stat.start, boot: bootId() }
}

/** `pid.start.boot`, for file names. */
export function formatIdentity({ pid, start, boot }: Identity): string {
  return `${pid}.${start}.${boot}`
}

const IDENTITY = /^(\d+)\.(\d+)\.([0-9a-f]{32})$/

export function parseIdentity(text: string): Identity | undefined {
  const match = IDENTITY.exec(text)
  return match ? { pid: Number(match[1]), start: Number(match[2]), boot: match[3] as string } : undefined
}

/** The process itself, not a later one of its pid; a zombie has ended. Without `boot`, of this boot. */
export function isAlive(target: { pid: number; start: number; boot?: string }): boolean {
  if (target.boot !== undefined && target.boot !== bootId()) return false
  const now = readStat(target.pid)
  return now !== undefined && now.start === target.start && !hasEnded(now)
}

/** Sends a signal if it is still this process. `false` when it is gone. */
export function signalProcess(target: { pid: number; start: number; boot?: string }, signal: NodeJS.Signals | number): boolean {
  if (!isAlive(target)) return false
  try {
    process.kill(target.pid, signal)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
