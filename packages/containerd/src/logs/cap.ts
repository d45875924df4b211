/**
 * Keeps plain log files below their cap while an app with this driver runs: the oldest blocks are given back to the file system,
 * so that offsets stay what they are, and `<file>.floor` tells the first one that is left.
 */
import { readdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readLogFloor } from '@vmkit/core/state-folder'
import type { ParsedOptions } from '../options.js'
import { machineFolder } from '../state-dir.js'
import { runTool } from '../tool.js'

const EVERY_MS = 2000
const BLOCK = 4096

export interface LogKeeper {
  /** From the first start on; holds no program open. */
  begin(): void
  close(): void
}

export function logKeeper({ logs }: ParsedOptions, root: string): LogKeeper {
  let timer: NodeJS.Timeout | undefined
  let busy = false
  const look = async (): Promise<void> => {
    if (busy) return
    busy = true
    await trimAll(root, logs.maxBytes).catch(() => undefined)
    busy = false
  }
  return {
    begin() {
      if (logs.maxBytes === 0 || logs.mode !== 'files') return
      timer ??= setInterval(() => void look(), EVERY_MS).unref()
    },
    close: () => clearInterval(timer),
  }
}

async function trimAll(root: string, maxBytes: number): Promise<void> {
  for (const uid of readdirSync(join(root, 'machines'))) {
    const { stdout, stderr, console } = machineFolder(root, uid)
    for (const path of [stdout, stderr, console]) await trim(path, maxBytes)
  }
}

async function trim(path: string, maxBytes: number): Promise<void> {
  const { size } = statSync(path, { throwIfNoEntry: false }) ?? { size: 0 }
  const floor = readLogFloor(path)
  if (size - floor <= maxBytes) return
  const next = Math.floor((size - maxBytes / 2) / BLOCK) * BLOCK
  // Told first: a reader must not take a hole for text.
  writeFileSync(`${path}.floor.new`, `${next}\n`, { mode: 0o600 })
  renameSync(`${path}.floor.new`, `${path}.floor`)
  await runTool('fallocate', ['--punch-hole', '--offset', String(floor), '--length', String(next - floor), path])
}
