/** The log of QMP events that QEMU keeps by itself: what happened to a run, also while no app was there. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs'
import { errno } from '../errors.js'

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

/** All events of the last run; none when it left no log. */
export function readEventLog(path: string): LoggedEvent[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map(parseEvent)
      .filter((event) => event !== undefined)
  } catch (error) {
    if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') return []
    throw error
  }
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
    const events = text
      .slice(0, end)
      .split('\n')
      .map(parseEvent)
      .filter((event) => event !== undefined)
    return { events, offset: offset + Buffer.byteLength(text.slice(0, end)) }
  } finally {
    closeSync(file)
  }
}
