/** The log of QMP events that QEMU keeps by itself: what happened to a run, also while no app was there. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs'
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
  /** Whole lines. */
  text: string
  events: readonly LoggedEvent[]
}

/** What was read of logs a moment ago, oldest first: a log grows by a line, and is read for every look at a state. */
const known = new Map<string, Known>()
const MOST_KNOWN = 32

/** All events of the last run; none when it left no log. */
export function readEventLog(path: string): readonly LoggedEvent[] {
  let all: string
  try {
    all = readFileSync(path, 'utf8')
  } catch (error) {
    known.delete(path)
    if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') return []
    throw error
  }
  const before = known.get(path)
  // Another run begins its log anew: then nothing of what is known holds.
  const start = before && all.startsWith(before.text) ? before : { text: '', events: [] }
  const text = all.slice(0, all.lastIndexOf('\n') + 1)
  if (text.length === start.text.length) return start.events
  const events = [...start.events, ...eventsOf(text.slice(start.text.length))]
  known.delete(path)
  known.set(path, { text, events })
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
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') return { events: [], offset }
    throw error
  }
  try {
    const { size } = fstatSync(file)
    if (size <= offset) return { events: [], offset }
    const data = Buffer.alloc(size - offset)
    const text = data.toString('utf8', 0, readSync(file, data, 0, data.length, offset))
    const end = text.lastIndexOf('\n') + 1
    return { events: eventsOf(text.slice(0, end)), offset: offset + Buffer.byteLength(text.slice(0, end)) }
  } finally {
    closeSync(file)
  }
}
