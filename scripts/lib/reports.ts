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
export async function readReports(folder: string): Promise<EngineReport[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.json')).sort()
  const reports = await Promise.all(files.map(async (file) => JSON.parse(await readFile(join(folder, file), 'utf8')) as EngineReport))
  const silent = driverPackages().filter((driver) => !reports.some((report) => report.driver === driver))
  return [...reports, ...silent.map((driver) => ({ driver, tested: false, reason: 'its conformance test left no report' }))]
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
    ...(report.refused ?? []).map(({ capability, reason }) => `  ${title(report)} refuses ${capability}: ${reason}`),
    ...byReason(report).map(([reason, tests]) => `  ${title(report)} did not run ${tests.length}: ${reason}`),
  ])
  return [table([['engine', '', 'result', 'version'], ...rows]), ...notes].join('\n')
}

/** Skipped tests, by vitest's full names, for which no report gives a reason. */
export function unexplained(skipped: readonly string[], reports: readonly EngineReport[]): string[] {
  const explained = reports.flatMap((report) => report.skipped ?? []).map(({ test }) => test.replace(': ', ' '))
  return skipped.filter((name) => !explained.some((test) => name.endsWith(test)))
}

function byReason({ skipped = [] }: EngineReport): [string, string[]][] {
  const reasons = [...new Set(skipped.map(({ reason }) => reason))]
  return reasons.map((reason) => [reason, skipped.filter((each) => each.reason === reason).map(({ test }) => test)])
}

function title(report: EngineReport): string {
  return report.variant == null ? report.driver : `${report.driver} (${report.variant})`
}

function counts({ passed = 0, failed = [], refused = [], skipped = [] }: EngineReport): string {
  return `${passed} passed, ${failed.length} failed, ${skipped.length} not run, ${refused.length} refused`
}
