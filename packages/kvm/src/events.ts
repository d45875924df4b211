/**
 * What happens to machines, whoever does it: the journal tells what vmkit did, each machine's event log what QEMU and its guest
 * did. Readers only read files, so there may be any number of them, in any process.
 */
import { statSync } from 'node:fs'
import type { MachineEvent, VMEvent } from '@vmkit/core/driver'
import { changes } from '@vmkit/core/state-folder'
import { DRIVER } from './errors.js'
import type { Host } from './host.js'
import { readEventsFrom } from './state/event-log.js'
import { type JournalEntry, openJournal } from './state/journal.js'
import { machineFolder } from './state/machine-folder.js'
import { statusOf } from './state/run.js'
import type { Machine } from './state/store.js'

const POLL_MS = 250

/** A machine that runs, as far as this reader has told of it. */
interface Followed {
  machine: Pick<Machine, 'id' | 'name' | 'folder'>
  run: number
  /** Bytes of its event log that were read. */
  offset: number
  unwatch(): void
}

/** From the first pull on, until `signal` fires. */
export async function* readEvents(host: Host, signal: AbortSignal): AsyncGenerator<VMEvent> {
  const { stateDir } = host.options
  const journal = openJournal(stateDir)
  const watch = changes(stateDir, POLL_MS)
  const followed = new Map<string, Followed>()

  function follow(machine: Followed['machine'], run: number, offset: number): void {
    leave(machine.id)
    followed.set(machine.id, { machine, run, offset, unwatch: watch.add(machine.folder.path) })
  }

  function leave(id: string): void {
    followed.get(id)?.unwatch()
    followed.delete(id)
  }

  /** What a line of the journal means to readers. What QEMU has logged until then comes first. */
  function* take(entry: JournalEntry): Generator<VMEvent> {
    const known = followed.get(entry.id)
    if (known) yield* logged(known)
    const { type, id, name, at } = entry
    const base = { driver: DRIVER, id, name, at }
    if (type === 'started') {
      yield { ...base, type }
      // Also one that was deleted since, whose end stands in the next lines; not one that nobody sees yet.
      if (find(host, id) || !host.store.holds(id)) follow({ id, name, folder: machineFolder(stateDir, id) }, entry.run, 0)
    } else if (type === 'stopped') {
      if (known?.run !== entry.run) return // it was told already
      leave(id)
      yield { ...base, type, exit: entry.exit }
    } else {
      if (type === 'deleted') leave(id)
      yield 'tag' in entry ? { ...base, type: entry.type, tag: entry.tag } : ({ ...base, type } as MachineEvent)
    }
  }

  try {
    for (const machine of host.store.list()) {
      const { run, state } = statusOf(machine.folder)
      if (run && isLive(state)) follow(machine, run.number, statSync(machine.folder.events, { throwIfNoEntry: false })?.size ?? 0)
    }
    while (!signal.aborted) {
      for (const entry of journal.read()) yield* take(entry)
      for (const one of [...followed.values()]) {
        yield* logged(one)
        const end = endOf(host, one)
        if (!end) continue
        leave(one.machine.id)
        yield end
      }
      if (!signal.aborted) await watch.next(signal)
    }
  } finally {
    watch.close()
    journal.close()
  }
}

/** Pauses and resumes, by whomever. */
function* logged(one: Followed): Generator<VMEvent> {
  const { events, offset } = readEventsFrom(one.machine.folder.events, one.offset)
  one.offset = offset
  let isOver = false
  for (const { event, at } of events) {
    if (event === 'SHUTDOWN') isOver = true
    // The stop behind a shutdown is part of it.
    if (isOver || (event !== 'STOP' && event !== 'RESUME')) continue
    yield { driver: DRIVER, id: one.machine.id, name: one.machine.name, at, type: event === 'STOP' ? 'paused' : 'resumed' }
  }
}

/** The end of a run that nobody wrote to the journal, because the guest or QEMU ended by itself. */
function endOf(host: Host, { machine, run }: Followed): MachineEvent | undefined {
  if (!find(host, machine.id)) return undefined // deleted: its line in the journal is on the way
  const status = statusOf(machine.folder)
  if (status.run?.number !== run || isLive(status.state)) return undefined
  const base = { driver: DRIVER, id: machine.id, name: machine.name, at: status.exit?.at ?? Date.now() }
  if (status.state === 'failed') return { ...base, type: 'failed', reason: status.reason ?? 'QEMU ended without a reason' }
  return status.exit && { ...base, type: 'stopped', exit: status.exit }
}

function isLive(state: string): boolean {
  return state === 'running' || state === 'paused' || state === 'stopping' || state === 'starting'
}

function find(host: Host, id: string): Machine | undefined {
  try {
    return host.store.get(id)
  } catch {
    return undefined
  }
}
