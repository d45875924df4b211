import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CallContext, LogEntry, MachineConfig, VMExit } from '@vmkit/core/driver'
import { hasEnded, readStat } from '@vmkit/core/state-folder'
import { type ProcessDriver, type ProcessOptions, processDriver } from '../src/driver.js'

export const ctx: CallContext = { signal: new AbortController().signal, deadline: undefined, report: () => {} }

function configOf(command: string[], rest: Partial<MachineConfig> = {}): MachineConfig {
  return {
    name: `m-${Math.random().toString(36).slice(2)}`,
    command,
    env: {},
    tty: false,
    stdin: false,
    mounts: [],
    volumes: [],
    ports: [],
    networks: [],
    devices: [],
    labels: {},
    stop: { signal: 'SIGTERM', graceMs: 2000 },
    pull: 'missing',
    files: [],
    driverOptions: {},
    ...rest,
  }
}

export interface Bench extends AsyncDisposable {
  driver: ProcessDriver
  stateDir: string
  create(command: string[], rest?: Partial<MachineConfig>): Promise<string>
  start(command: string[], rest?: Partial<MachineConfig>): Promise<string>
  /** Runs it to its end. */
  run(command: string[], rest?: Partial<MachineConfig>): Promise<{ exit: VMExit; stdout: string; stderr: string; entries: LogEntry[] }>
}

/** A driver on a state folder of its own, of which nothing is left afterwards. */
export function bench(options: ProcessOptions = {}): Bench {
  const stateDir = options.stateDir ?? mkdtempSync(join(tmpdir(), 'vmkit-process-'))
  const driver = processDriver({ ...options, stateDir })
  const create = async (command: string[], rest?: Partial<MachineConfig>): Promise<string> =>
    (await driver.create(configOf(command, rest), ctx)).id
  const start = async (command: string[], rest?: Partial<MachineConfig>): Promise<string> => {
    const id = await create(command, rest)
    await driver.start(id, ctx)
    return id
  }
  return {
    driver,
    stateDir,
    create,
    start,
    async run(command, rest) {
      const id = await start(command, rest)
      const exit = await driver.wait(id, ctx)
      const entries = await logs(driver, id)
      const text = (source: string): string =>
        entries
          .filter((entry) => entry.source === source)
          .map((entry) => entry.text)
          .join('\n')
      return { exit, stdout: text('stdout'), stderr: text('stderr'), entries }
    },
    async [Symbol.asyncDispose]() {
      for (const { id } of await driver.list({}, ctx)) await driver.delete(id, { force: true }, ctx)
      await driver.close()
      rmSync(stateDir, { recursive: true, force: true })
    },
  }
}

export async function logs(driver: ProcessDriver, id: string, options = {}): Promise<LogEntry[]> {
  const entries: LogEntry[] = []
  for await (const entry of driver.logs(id, options, ctx)) entries.push(entry)
  return entries
}

/** The first line that fits, of a machine that runs. */
export async function line(driver: ProcessDriver, id: string, pattern: RegExp): Promise<string> {
  for await (const { text } of driver.logs(id, { follow: true }, ctx)) if (pattern.test(text)) return text
  throw new Error(`the machine ended without a line like ${pattern}`)
}

export async function until(what: string, condition: () => boolean | Promise<boolean>, ms = 10_000): Promise<void> {
  const end = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what} did not happen within ${ms} ms`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A zombie has ended, whenever its parent collects it. */
export function lives(pid: number): boolean {
  const stat = readStat(pid)
  return stat !== undefined && !hasEnded(stat)
}
