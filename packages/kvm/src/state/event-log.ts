/** The log of QMP events that QEMU keeps by itself: what happened to a run, also while no app was there. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { errno } from '@vmkit/core/state-folder'

export interface LoggedEvent {
  event: string
  data: Record<string, unknown>
  /** Epoch milliseconds, by QEMU's clock. */
  at: number
}

interface Wire {
  event?: unknown
  data?: Record<string, unknown>
  timestamp?: { seconds: number; microseconds: number }
}

/** One line of the log; `undefined` for an answer or the greeting, and for what is no JSON. */
function parseEvent(line: string): LoggedEvent | undefined {
  // Answers to the one command and the greeting are in the log, too.
  if (!line.includes('"event"')) return undefined
  try {
    const { event, data = {}, timestamp } = JSON.parse(line) as Wire
    if (typeof event !== 'string' || !timestamp) return undefined
    return { event, data, at: timestamp.seconds * 1000 + Math.floor(timestamp.microseconds / 1000) }
  } catch {
    return undefined
  }
}

interface Known {
  /** Bytes of whole lines. */
  size: number
  /** The last of them: each run's have times of their own. */
  last: Buffer
  events: readonly LoggedEvent[]
}

/** What was read of logs a moment ago, oldest first: a log grows by a line, and is read for every look at a state. */
const known = new Map<string, Known>()
const MOST_KNOWN = 32
const NEWLINE = 0x0a

/** All events of the last run; none when it left no log. */
export function readEventLog(path: string): readonly LoggedEvent[] {
  const before = known.get(path)
  const rest = before && bytesFrom(path, before.size - before.last.length)
  // Another run begins its log anew: then nothing of what is known holds.
  if (before && rest?.subarray(0, before.last.length).equals(before.last)) {
    return keep(path, before, rest.subarray(before.last.length))
  }
  known.delete(path)
  const all = bytesFrom(path, 0)
  return all ? keep(path, { size: 0, last: Buffer.alloc(0), events: [] }, all) : []
}

/** What QEMU is just writing ends without a newline, and is left for the next time. */
function keep(path: string, before: Known, added: Buffer): readonly LoggedEvent[] {
  const lines = added.subarray(0, added.lastIndexOf(NEWLINE) + 1)
  if (lines.length === 0) return before.events
  const last = Buffer.from(lines.subarray(lines.subarray(0, -1).lastIndexOf(NEWLINE) + 1))
  const events = [...before.events, ...eventsOf(lines.toString('utf8'))]
  known.delete(path)
  known.set(path, { size: before.size + lines.length, last, events })
  for (const oldest of [...known.keys()].slice(0, -MOST_KNOWN)) known.delete(oldest)
  return events
}

function eventsOf(lines: string): LoggedEvent[] {
  return lines
    .split('\n')
    .map(parseEvent)
    .filter((event) => event !== undefined)
}

/** How often the guest of the last run was reset. */
export function resetsOf({ events }: { events: string }): number {
  return readEventLog(events).filter(({ event }) => event === 'RESET').length
}

/** Events from an offset on, whole lines only, and the offset to go on from. */
export function readEventsFrom(path: string, offset: number): { events: LoggedEvent[]; offset: number } {
  const added = bytesFrom(path, offset) ?? Buffer.alloc(0)
  const lines = added.subarray(0, added.lastIndexOf(NEWLINE) + 1)
  return { events: eventsOf(lines.toString('utf8')), offset: offset + lines.length }
}

/** `undefined` when there is no such file. */
function bytesFrom(path: string, offset: number): Buffer | undefined {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') return undefined
    throw error
  }
  try {
    const { size } = fstatSync(file)
    const data = Buffer.alloc(Math.max(0, size - offset))
    return data.subarray(0, readSync(file, data, 0, data.length, offset))
  } finally {
    closeSync(file)
  }
}
