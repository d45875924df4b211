/** The note that a guest stands still only while its memory is saved. Who dies meanwhile leaves it, and others let the guest go on. */
import { rmSync } from 'node:fs'
import { type Identity, isAlive, ownIdentity, readJson, writeJson } from '@vmkit/core/state-folder'
import type { MachineFolder } from './machine-folder.js'

interface Saving {
  run: number
  by: Identity
}

/** Before the guest is stopped. Under the machine's lock, as all that changes it. */
export function noteSaving(folder: MachineFolder, run: number): void {
  writeJson(folder.saving, { run, by: ownIdentity() } satisfies Saving)
}

export function forgetSaving(folder: MachineFolder): void {
  rmSync(folder.saving, { force: true })
}

/** Whether a program that is gone left it. */
export function isSavingCutOff(folder: MachineFolder, run: number): boolean {
  const saving = readJson<Saving>(folder.saving)
  return saving !== undefined && saving.run === run && !isAlive(saving.by)
}
