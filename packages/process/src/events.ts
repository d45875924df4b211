/**
 * The journal: one line per event, appended by whoever did it, the supervisors included, and read by every driver on the
 * state folder. Lines are `type id` and, for the end of a run, what `exit.N` says too.
 */
import { appendFileSync, closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { limitOf, type MachineEvent, type VMEvent, type VMExit } from '@vmkit/core/driver'
import { changes, errno, untilChange } from '@vmkit/core/state-folder'
import { DRIVER, systemError } from './errors.js'
import { EXIT_WRITE_MS, exitOf, isRunAlive, parseExit, readSnapshot, statusOf } from './run.js'
import { ifThere, type Store } from './store.js'
import { JOURNAL } from './supervisor.js'

const LARGEST_JOURNAL = 2 ** 20
const POLL_MS = 500
const UNKNOWN: VMExit = { code: null, signal: null, oom: null, reason: 'unknown', at: null }

export type JournalEvent = 'created' | 'deleted' | 'paused' | 'resumed' | 'resized'

/** Telling of an event never fails what it tells of. */
export function record(stateDir: string, type: JournalEvent, id: string): void {
  const path = join(stateDir, JOURNAL)
  try {
    appendFileSync(path, `${type} ${id}\n`, { mode: 0o600 })
    if (statSync(path).size > LARGEST_JOURNAL) renameSync(path, `${path}.1`)
  } catch {
    // The state folder tells the same to whoever asks.
  }
}

/** From the first pull on, until `signal` fires. */
export async function* readEvents(stateDir: string, store: Store, signal: AbortSignal): AsyncGenerator<VMEvent> {
  const journal = openJournal(stateDir)
  const watch = changes(stateDir, POLL_MS)
  const running = new Map<string, number>()
  for (const machine of store.list()) {
    const status = ifThere(() => statusOf(machine))
    if (status?.run && !status.exit) running.set(machine.id, status.run.number)
  }
  try {
    for (;;) {
      for (const line of journal.read()) {
        const event = parseLine(line, running)
        if (event?.type === 'stopped') await exitTold(store, line, signal)
        if (event) yield event
      }
      for (const event of lostOnes(store, running)) yield event
      if (signal.aborted) return
      await watch.next(signal)
      if (signal.aborted) return
    }
  } finally {
    watch.close()
    journal.close()
  }
}

/** A line as an event. `running` holds the run of each machine that is known to run, so that no end is told twice. */
export function parseLine(line: string, running: Map<string, number>): MachineEvent | undefined {
  const [type = '', id = '', run, ...rest] = line.split(' ')
  const cut = id.lastIndexOf('~')
  if (cut < 0) return undefined
  const base = { driver: DRIVER, id, name: id.slice(0, cut), at: Date.now() }
  switch (type) {
    case 'created':
    case 'paused':
    case 'resumed':
    case 'resized':
      return { ...base, type }
    case 'deleted':
      running.delete(id)
      return { ...base, type }
    case 'started':
      running.set(id, Number(run))
      return { ...base, type }
    case 'stopped':
      if (running.get(id) !== Number(run)) return undefined
      running.delete(id)
      return { ...base, type, exit: parseExit(rest.join(' '), base.at)?.exit ?? UNKNOWN }
    default:
      return undefined
  }
}

/** The supervisor writes the line first, the exit at once after it: what is told is then true already. */
async function exitTold(store: Store, line: string, signal: AbortSignal): Promise<void> {
  const [, id = '', number] = line.split(' ')
  const machine = ifThere(() => store.get(id))
  if (!machine) return
  const isTold = (): true | undefined => {
    const run = ifThere(() => readSnapshot(machine))?.run
    return run?.number === Number(number) && isRunAlive(run) ? undefined : true
  }
  using limit = limitOf(signal, EXIT_WRITE_MS)
  // Over, or its reader has left: the line itself is true.
  await untilChange(machine.folder, limit.signal, POLL_MS, isTold, 'exit.').catch(() => {})
}

/** Those whose supervisor was killed: nobody wrote that they ended. */
function lostOnes(store: Store, running: Map<string, number>): MachineEvent[] {
  const events: MachineEvent[] = []
  for (const [id, number] of running) {
    try {
      const machine = store.get(id)
      const { run } = readSnapshot(machine)
      const exit = run && exitOf(run, () => readSnapshot(machine).run)
      if (run?.number !== number || exit?.reason !== 'lost') continue
      running.delete(id)
      events.push({ type: 'stopped', driver: DRIVER, id, name: machine.name, at: Date.now(), exit })
    } catch {
      // Deleted: its line is on the way.
    }
  }
  return events
}

interface Journal {
  /** Whole lines that came since the last call. */
  read(): string[]
  close(): void
}

function openJournal(stateDir: string): Journal {
  const path = join(stateDir, JOURNAL)
  mkdirSync(stateDir, { recursive: true, mode: 0o711 })
  let file = openSync(path, 'a+', 0o600)
  let position = fstatSync(file).size
  let rest = ''
  const buffer = Buffer.alloc(64 * 1024)

  function drain(): void {
    for (
      let length = readSync(file, buffer, 0, buffer.length, position);
      length > 0;
      length = readSync(file, buffer, 0, buffer.length, position)
    ) {
      position += length
      rest += buffer.toString('latin1', 0, length)
    }
  }

  return {
    read() {
      drain()
      if (isReplaced(file, path)) {
        drain()
        closeSync(file)
        file = openSync(path, 'a+', 0o600)
        position = 0
        drain()
      }
      const lines = rest.split('\n')
      rest = lines.pop() ?? ''
      return lines
    },
    close: () => closeSync(file),
  }
}

function isReplaced(file: number, path: string): boolean {
  try {
    return statSync(path).ino !== fstatSync(file).ino
  } catch (error) {
    if (errno(error) === 'ENOENT') return true
    throw systemError(error, { operation: 'events' })
  }
}
