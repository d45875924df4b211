/**
 * FIFOs for the streams of commands. One helper process makes a batch of them, because starting `mkfifo` costs as much as a
 * tenth of a whole exec; a set that was read to its end is used again.
 */
import { randomBytes } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { privateFolder } from '../state-dir.js'
import { isAlive, runChecked } from '../tool.js'

const BATCH = 24

export interface FifoPool {
  /** Paths of so many FIFOs that nobody uses. */
  take(count: number): Promise<string[]>
  /** Back into the pool: every end of them is closed. */
  give(paths: readonly string[]): void
  /** For one that somebody may still hold open. */
  drop(paths: readonly string[]): void
  close(): void
}

export function fifoPool(root: string): FifoPool {
  let folder: string | undefined
  let free: string[] = []
  let made = 0
  let making: Promise<void> | undefined

  async function make(): Promise<void> {
    if (folder === undefined) {
      const parent = privateFolder(join(root, 'fifos'))
      removeOrphans(parent)
      folder = privateFolder(join(parent, `${process.pid}.${randomBytes(4).toString('hex')}`))
    }
    const here = folder
    const paths = Array.from({ length: BATCH }, () => join(here, String(made++)))
    await runChecked('mkfifo', ['-m', '600', ...paths])
    free.push(...paths)
  }

  return {
    async take(count) {
      while (free.length < count) {
        making ??= make().finally(() => {
          making = undefined
        })
        await making
      }
      return free.splice(0, count)
    },
    give: (paths) => void free.push(...paths),
    drop(paths) {
      for (const path of paths) rmSync(path, { force: true })
    },
    close() {
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
      folder = undefined
      free = []
    },
  }
}

/** Folders of processes that are gone: killed before they could remove theirs. */
function removeOrphans(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = Number(name.split('.')[0])
    if (!Number.isInteger(pid) || !isAlive(pid)) rmSync(join(parent, name), { recursive: true, force: true })
  }
}
