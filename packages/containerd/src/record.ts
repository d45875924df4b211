/**
 * What a container remembers of its machine. Labels hold at most 4096 bytes each (containerd's `labels.Validate`), so the
 * config is in an extension of the container's record; labels only mark it, which is what lists are filtered by.
 */
import { createHash } from 'node:crypto'
import type { MachineConfig } from '@vmkit/core/driver'
import type { AnyInit } from './grpc/messages.js'
import { IDENTIFIER } from './identifier.js'

export const LABEL = {
  /** The registered name of the driver that made it. */
  mark: 'vmkit.machine',
  uid: 'vmkit.uid',
  /** The last change that containerd has no event for, as `what:detail:number`. */
  change: 'vmkit.change',
} as const

const EXTENSION = 'vmkit.machine'
const TYPE_URL = 'vmkit/machine/1'

export interface MachineRecord {
  uid: string
  config: MachineConfig
  createdAt: number
  /** The image's own stop signal. */
  stopSignal?: string
  /** Folder of this driver's state for the namespace, as it was when the machine was made. */
  root: string
  cgroupsPath: string
  workdir: string
  /** Its lines carry times, by a logger. */
  stamped?: boolean
  /** What other parts of the driver keep, such as snapshots, by a name of their own. */
  extra?: Record<string, unknown>
}

export function extensionsOf(record: MachineRecord): Record<string, AnyInit> {
  // The contents of `files` are in the machine by then: they are not kept a second time.
  const kept = { ...record, config: { ...record.config, files: [] } }
  return { [EXTENSION]: { typeUrl: TYPE_URL, value: Buffer.from(JSON.stringify(kept)) } }
}

/** `undefined` for a container that has none, or a broken one. */
export function recordOf(extensions: Readonly<Record<string, AnyInit>>): MachineRecord | undefined {
  const any = extensions[EXTENSION]
  if (any?.typeUrl !== TYPE_URL) return undefined
  try {
    return JSON.parse(Buffer.from(any.value).toString('utf8')) as MachineRecord
  } catch {
    return undefined
  }
}

/** An id is one incarnation of a name: that of the container, and a number of its own. */
export function idOf(containerId: string, uid: string): string {
  return `${containerId}:${uid}`
}

export function partsOfId(id: string): { containerId: string; uid: string } | undefined {
  const match = /^([A-Za-z0-9._-]{1,76}):([0-9a-f]{16})$/.exec(id)
  return match ? { containerId: match[1] as string, uid: match[2] as string } : undefined
}

/** Names that containerd takes are its ids as they are, so that its uniqueness is ours; of others, a hash is. */
export function containerIdOf(name: string): string {
  return IDENTIFIER.test(name) ? name : `vmkit-${createHash('sha256').update(name).digest('hex').slice(0, 40)}`
}
