import { mkdir, writeFile } from 'node:fs/promises'
import { arch, availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { SuiteReport } from './report.js'

const FOLDER = fileURLToPath(new URL('../results/', import.meta.url))

/** Where a result was measured: results of two machines are not to be compared. */
export function thisMachine() {
  return {
    platform: platform(),
    release: release(),
    arch: arch(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    /** Processes that wanted a CPU in the last minute: well above 0 before the bench means that it had to share. */
    load: loadavg()[0] ?? 0,
  }
}

/** Keeps a run as JSON and returns the file. Times are milliseconds, memory is bytes. */
export async function saveResults(run: {
  date: Date
  machine: ReturnType<typeof thisMachine>
  quick: boolean
  suites: readonly SuiteReport[]
}): Promise<string> {
  await mkdir(FOLDER, { recursive: true })
  const file = `${FOLDER}${run.date.toISOString().replaceAll(':', '-')}.json`
  await writeFile(file, `${JSON.stringify({ node: process.version, ...run }, undefined, 1)}\n`)
  return relative(process.cwd(), file)
}
