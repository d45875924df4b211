import type { IncomingMessage } from 'node:http'
import { VMKitError } from '@vmkit/core'
import {
  type CallContext,
  invalidConfig,
  type LineSplitter,
  type LogEntry,
  type LogOptions,
  type LogSource,
  lineSplitter,
} from '@vmkit/core/driver'
import { transportError } from './errors.js'
import { frames, terminal } from './frames.js'
import type { Found, Machines } from './machines.js'
import { timeOf } from './wire.js'

/** Where a message stands: its time to the nanosecond, and its number among those of the same time. */
interface Position {
  time: string
  nth: number
}

const CURSOR = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z)#(\d+)$/

export async function* readLogs(machines: Machines, id: string, options: LogOptions, ctx: CallContext): AsyncGenerator<LogEntry> {
  const found = await machines.find(id, ctx)
  let after = options.after === undefined ? undefined : parseCursor(options.after)
  const wanted = options.sources ? new Set<LogSource>(options.sources) : undefined
  const isWanted = (entry: LogEntry) => wanted?.has(entry.source) ?? true
  let { tail } = options

  if (tail !== undefined && (wanted || after || options.since !== undefined)) {
    // The engine's tail counts what would be filtered away here, so the last lines are picked here.
    const last: LogEntry[] = []
    for await (const entry of readOnce(found, { ...options, follow: false, tail: undefined }, after, ctx)) {
      after = parseCursor(entry.cursor)
      if (isWanted(entry)) last.push(entry)
      if (last.length > tail) last.shift()
    }
    yield* last
    if (!options.follow) return
    tail = undefined
  }
  const startedAt = timeOf((await machines.inspect(id, ctx)).State.StartedAt)
  for await (const entry of readOnce(found, { ...options, tail }, after, ctx)) {
    after = parseCursor(entry.cursor)
    if (isWanted(entry)) yield entry
  }
  if (!options.follow || ctx.signal.aborted) return
  // The engine ends the stream as well when it shuts down while the container goes on, or starts it again.
  const { State } = await machines.inspect(id, ctx)
  if (!State.Running && !State.Restarting) return
  if (timeOf(State.StartedAt) !== startedAt || State.Restarting) {
    yield* readLogs(machines, id, { ...options, tail: undefined, after: after && formatCursor(after) }, ctx)
    return
  }
  throw new VMKitError('BACKEND_UNAVAILABLE', 'The engine ended the log stream of a machine that still runs', {
    driver: 'docker',
    vmId: id,
    hint: 'Go on with `after` and the cursor of the last entry',
  })
}

async function* readOnce(
  { engine, path, facts, id }: Found,
  options: LogOptions,
  after: Position | undefined,
  ctx: CallContext,
): AsyncGenerator<LogEntry> {
  const answer = await engine.stream({
    method: 'GET',
    path: `${path}/logs`,
    query: {
      stdout: true,
      stderr: true,
      timestamps: true,
      follow: options.follow ?? false,
      tail: options.tail === undefined ? 'all' : options.tail,
      since: after ? unixTime(after.time) : options.since === undefined ? undefined : (Number(options.since) / 1000).toFixed(3),
    },
    signal: ctx.signal,
    context: { vmId: id, operation: 'logs' },
  })
  try {
    yield* entries(messages(answer, facts.tty), after)
  } catch (error) {
    if (ctx.signal.aborted) return
    throw transportError(error, engine.endpoint.target, ctx.signal)
  } finally {
    answer.destroy()
  }
}

interface Message {
  source: LogSource
  time: string
  bytes: Uint8Array
}

const SPACE = 0x20

/** Each frame is one message `TIME TEXT`; a terminal's messages are lines. */
async function* messages(answer: IncomingMessage, tty: boolean): AsyncGenerator<Message> {
  const chunks = tty ? wholeLines(terminal(answer)) : frames(answer)
  for await (const { source, data } of chunks) {
    const space = data.indexOf(SPACE)
    const time = Buffer.from(data.subarray(0, Math.max(space, 0))).toString('latin1')
    yield { source, time, bytes: data.subarray(space + 1) }
  }
}

async function* wholeLines(
  chunks: AsyncIterable<{ source: LogSource; data: Uint8Array }>,
): AsyncGenerator<{ source: LogSource; data: Uint8Array }> {
  let rest = Buffer.alloc(0)
  for await (const { data } of chunks) {
    rest = Buffer.concat([rest, data])
    for (let newline = rest.indexOf(0x0a); newline >= 0; newline = rest.indexOf(0x0a)) {
      yield { source: 'console', data: rest.subarray(0, newline + 1) }
      rest = rest.subarray(newline + 1)
    }
  }
  if (rest.length > 0) yield { source: 'console', data: rest }
}

/** The engine cuts lines at 16 KiB; they are put together again, each stream for itself. */
async function* entries(source: AsyncIterable<Message>, after: Position | undefined): AsyncGenerator<LogEntry> {
  const splitters = new Map<LogSource, LineSplitter>()
  const last = new Map<LogSource, { time: string; cursor: string }>()
  let position: Position = { time: '', nth: 0 }
  for await (const message of source) {
    position = message.time === position.time ? { time: position.time, nth: position.nth + 1 } : { time: message.time, nth: 1 }
    if (after && message.time === after.time && position.nth <= after.nth) continue
    const splitter = splitters.get(message.source) ?? lineSplitter()
    splitters.set(message.source, splitter)
    const cursor = formatCursor(position)
    last.set(message.source, { time: message.time, cursor })
    for (const line of splitter.push(message.bytes)) yield entry(message.source, line.text, line.partial, message.time, cursor)
  }
  for (const [name, splitter] of splitters) {
    const { time, cursor } = last.get(name) as { time: string; cursor: string }
    for (const line of splitter.end()) yield entry(name, line.text, line.partial, time, cursor)
  }
}

function entry(source: LogSource, text: string, partial: boolean, time: string, cursor: string): LogEntry {
  return { source, text, at: timeOf(time), cursor, ...(partial ? { partial } : {}) }
}

function formatCursor({ time, nth }: Position): string {
  return `${time}#${nth}`
}

function parseCursor(cursor: string): Position {
  const match = CURSOR.exec(cursor)
  if (!match) throw invalidConfig('options.after', 'a cursor that a log entry of this driver came with', cursor)
  return { time: match[1] as string, nth: Number(match[2]) }
}

/** Seconds since the epoch with nanoseconds, which is how the engine takes times. */
function unixTime(time: string): string {
  const [, fraction = ''] = /\.(\d+)Z$/.exec(time) ?? []
  return `${Math.floor(Date.parse(time) / 1000)}.${fraction.padEnd(9, '0')}`
}
