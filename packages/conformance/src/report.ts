import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Capability, HostProbe, VMDriver } from '@vmkit/core'

/** What one run of the kit has shown, and what it has not. */
export interface Report {
  driver: string
  variant: string | null
  engine: string | null
  /** False: the backend is not on this host; `reason` says why. */
  tested: boolean
  reason: string | null
  seed: number
  passed: number
  failed: string[]
  /** Capabilities that are not there, whose refusal was tested instead. */
  refused: { capability: Capability; reason: string }[]
  /** Tests that could not run. */
  skipped: { test: string; reason: string }[]
}

export function newReport(driver: VMDriver, variant: string | undefined, seed: number): Report {
  return {
    driver: driver.name,
    variant: variant ?? null,
    engine: null,
    tested: false,
    reason: null,
    seed,
    passed: 0,
    failed: [],
    refused: [],
    skipped: [],
  }
}

export function noteProbe(report: Report, probe: HostProbe): void {
  report.engine = probe.engine ?? null
  report.tested = probe.available
  report.reason = probe.available ? null : (probe.reason ?? 'the probe gives no reason')
}

/** The report for people. Every test that was not run is in it, with its reason. */
export function render(report: Report): string {
  const subject = report.variant === null ? report.driver : `${report.driver} (${report.variant})`
  const head = `conformance of ${subject}${report.engine === null ? '' : ` on ${report.engine}`}`
  if (!report.tested) return `${head}: NOT TESTED: ${report.reason}`
  const lines = [`${head}: ${report.passed} passed, ${report.failed.length} failed, ${report.skipped.length} not run (seed ${report.seed})`]
  for (const { capability, reason } of report.refused) lines.push(`  refused  ${capability}: ${reason}`)
  for (const [reason, tests] of grouped(report.skipped)) lines.push(`  not run  ${tests.join('; ')}: ${reason}`)
  return lines.join('\n')
}

function grouped(skipped: Report['skipped']): Map<string, string[]> {
  const byReason = new Map<string, string[]>()
  for (const { test, reason } of skipped) byReason.set(reason, [...(byReason.get(reason) ?? []), test])
  return byReason
}

/** Writes `<driver>[-<variant>].json` into the folder that `VMKIT_REPORT_DIR` names, for tables over several drivers. */
export async function store(report: Report): Promise<void> {
  const folder = process.env.VMKIT_REPORT_DIR
  if (!folder) return
  await mkdir(folder, { recursive: true })
  const name = [report.driver, report.variant]
    .filter((part) => part !== null)
    .join('-')
    .replace(/[^\w.-]/g, '_')
  await writeFile(join(folder, `${name}.json`), `${JSON.stringify(report, null, 2)}\n`)
}
