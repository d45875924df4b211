import { existsSync, readdirSync } from 'node:fs'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from './run.js'
import { table } from './table.js'

/** What the tests of one driver, on one engine, leave in `VMKIT_REPORT_DIR` as `<driver>[-<variant>].json`; see scripts/README.md. */
export interface EngineReport {
  driver: string
  variant?: string | null
  engine?: string | null
  tested: boolean
  /** Why it was not tested. */
  reason?: string | null
  passed?: number
  /** Names of the tests that failed. */
  failed?: string[]
  refused?: { capability: string; reason: string }[]
  skipped?: { test: string; reason: string }[]
}

/** An empty folder for the reports of one run. */
export async function freshFolder(name: string): Promise<string> {
  const folder = join(ROOT, '.reports', name)
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  return folder
}

/** All reports of a run, and an entry that says so for each driver package that left none. */
export async function readReports(folders: readonly string[]): Promise<EngineReport[]> {
  const reports = (await Promise.all(folders.map(reportsIn))).flat().sort((one, other) => title(one).localeCompare(title(other)))
  const silent = driverPackages().filter((driver) => !reports.some((report) => report.driver === driver))
  return [...reports, ...silent.map((driver) => ({ driver, tested: false, reason: 'its conformance test left no report' }))]
}

async function reportsIn(folder: string): Promise<EngineReport[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.json'))
  return Promise.all(files.map(async (file) => JSON.parse(await readFile(join(folder, file), 'utf8')) as EngineReport))
}

function driverPackages(): string[] {
  return readdirSync(join(ROOT, 'packages')).filter((name) => existsSync(join(ROOT, 'packages', name, 'test/conformance.test.ts')))
}

/** The closing table: every engine, and below it every refusal and every reason for a skip; the kit itself names the tests. */
export function describeReports(reports: readonly EngineReport[]): string {
  const rows = reports.map((report) => [
    title(report),
    report.tested ? 'tested' : 'NOT TESTED',
    report.tested ? counts(report) : (report.reason ?? 'no reason given'),
    report.engine ?? '',
  ])
  const notes = reports.flatMap((report) => [
    ...grouped(report.refused ?? []).map(
      ([reason, items]) => `  ${title(report)} refuses ${items.map((each) => each.capability).join(', ')}: ${reason}`,
    ),
    ...grouped(shortened(report)).map(([reason, items]) => `  ${title(report)} did not run ${items.length}: ${reason}`),
  ])
  return [table([['engine', '', 'result', 'version'], ...rows]), ...notes].join('\n')
}

/** Skipped tests, by vitest's full names, for which no report gives a reason. */
export function unexplained(skipped: readonly string[], reports: readonly EngineReport[]): string[] {
  const explained = reports.flatMap((report) => report.skipped ?? []).map(({ test }) => test.replace(': ', ' '))
  return skipped.filter((name) => !explained.some((test) => name.endsWith(test)))
}

function grouped<T extends { reason: string }>(items: readonly T[]): [string, T[]][] {
  return [...new Set(items.map(({ reason }) => reason))].map((reason) => [reason, items.filter((each) => each.reason === reason)])
}

// A test of a refused capability has the reason that is told with the refusal.
function shortened({ skipped = [], refused = [] }: EngineReport): { reason: string }[] {
  const told = new Set(refused.map(({ capability, reason }) => `${capability}: ${reason}`))
  return skipped.map(({ reason }) => ({ reason: told.has(reason) ? 'for what it refuses, the refusal is tested' : reason }))
}

function title(report: EngineReport): string {
  return report.variant == null ? report.driver : `${report.driver} (${report.variant})`
}

function counts({ passed = 0, failed = [], refused = [], skipped = [] }: EngineReport): string {
  return `${passed} passed, ${failed.length} failed, ${skipped.length} not run, ${refused.length} refused`
}
