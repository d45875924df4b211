/** A network namespace that is held by a bind mount, so that it lives without a process. */
import { closeSync, existsSync, openSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { privateFolder } from '../state-dir.js'
import { runChecked, runTool } from '../tool.js'

/** Takes no signal: the mount is made by a child of `unshare`, which goes on when that is killed. */
export async function createNetns(path: string): Promise<void> {
  privateFolder(dirname(path))
  closeSync(openSync(path, 'a', 0o600))
  try {
    await runChecked('unshare', [`--net=${path}`, 'true'])
  } catch (error) {
    await removeNetns(path)
    throw error
  }
}

/** Harmless when there is none. A mount that is busy goes as soon as nobody uses it. */
export async function removeNetns(path: string): Promise<void> {
  if (!existsSync(path)) return
  await runTool('umount', ['--lazy', path])
  rmSync(path, { force: true })
}
