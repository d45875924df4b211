import { readFileSync } from 'node:fs'
import { isAlive, readStat } from './proc.js'

/** Names a process for as long as the host's memory goes: across pid reuse and reboots. */
export interface Identity {
  pid: number
  start: number
  boot: string
}

let self: Identity | undefined

/** This process. */
export function ownIdentity(): Identity {
  self ??= { pid: process.pid, start: readStat('self')?.start ?? 0, boot: bootId() }
  return self
}

let boot: string | undefined

export function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim().replaceAll('-', '')
  return boot
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

export function isRunning(identity: Identity): boolean {
  return identity.boot === bootId() && isAlive(identity)
}
