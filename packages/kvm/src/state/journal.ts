/**
 * What vmkit did, one JSON text per line in the state folder. Whoever does it appends it, every reader of events follows it.
 */
import { appendFileSync, closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { VMExit } from '@vmkit/core/driver'
import { errno } from '@vmkit/core/state-folder'
import { systemError } from '../errors.js'

const FILE = 'journal'
const LARGEST = 2 ** 20

export type JournalFact =
  | { type: 'created' | 'deleted' | 'resized' | 'migrated' }
  | { type: 'started'; run: number }
  | { type: 'stopped'; run: number; exit: VMExit }
  | { type: 'snapshotted' | 'restored'; tag: string }

export type JournalEntry = JournalFact & { id: string; name: string; at: number }

/** Telling of an event never fails what it tells of. */
export function record(stateDir: string, { id, name }: { id: string; name: string }, fact: JournalFact): void {
  const path = join(stateDir, FILE)
  try {
    appendFileSync(path, `${JSON.stringify({ ...fact, id, name, at: Date.now() })}\n`, { mode: 0o600 })
    if (statSync(path).size > LARGEST) renameSync(path, `${path}.1`)
  } catch {
    // The state folder tells the same to whoever asks.
  }
}

export interface Journal {
  /** What was written since the last call, and since it was opened. */
  read(): JournalEntry[]
  close(): void
}

export function openJournal(stateDir: string): Journal {
  const path = join(stateDir, FILE)
  mkdirSync(stateDir, { recursive: true, mode: 0o700 })
  let file = openSync(path, 'a+', 0o600)
  let position = fstatSync(file).size
  let rest = Buffer.alloc(0)
  const chunk = Buffer.alloc(64 * 1024)

  function drain(): void {
    for (let length = chunk.length; length > 0; ) {
      length = readSync(file, chunk, 0, chunk.length, position)
      position += length
      rest = Buffer.concat([rest, chunk.subarray(0, length)])
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
      const end = rest.lastIndexOf('\n') + 1
      const lines = rest.toString('utf8', 0, end).split('\n').slice(0, -1)
      rest = rest.subarray(end)
      return lines.map((line) => JSON.parse(line) as JournalEntry)
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
