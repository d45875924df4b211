/** A machine that stands still because a program was killed while it saved the memory: it goes on, and half a snapshot goes. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { untilChange } from '@vmkit/core/state-folder'
import { endMigration } from '../migrate/outgoing.js'
import { connectQmp } from '../qmp/client.js'
import { withLock } from '../state/lock.js'
import { isCutOff, statusOf } from '../state/run.js'
import { forgetSaving } from '../state/saving.js'
import type { Machine } from '../state/store.js'
import { SAVING_SOCKET } from './memory-file.js'
import { removeHalves } from './records.js'

const POLL_MS = 100

/** Under the machine's lock. Does nothing for any other machine. */
export async function goOn({ folder }: Machine, signal: AbortSignal): Promise<void> {
  if (!isCutOff(folder)) return
  const qmp = await connectQmp(folder.qmp, { signal })
  try {
    await endMigration(qmp)
    await qmp.execute('cont')
  } finally {
    await qmp.close()
  }
  await untilChange(folder.path, signal, POLL_MS, () => (statusOf(folder).state === 'paused' ? undefined : true))
  rmSync(join(folder.path, SAVING_SOCKET), { force: true })
  removeHalves(folder)
  forgetSaving(folder)
}

/** For who does not hold the lock. */
export function letGoOn(machine: Machine, signal: AbortSignal): Promise<void> {
  return withLock(machine, 'resume', signal, (inner) => goOn(machine, inner))
}
