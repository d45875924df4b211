import type { Row, Verdict } from './compare.js'
import type { Estimate } from './stats.js'
import { digits, show } from './units.js'

/** What became of one suite. */
export interface SuiteReport {
  suite: string
  /** Why none of it could run. */
  skipped?: string
  rows: Row[]
  omitted: { what: string; reason: string }[]
}

const HEADING = ['what', 'against', 'ours', 'theirs', 'ratio', 'difference', '95 % interval', 'A/A ratio', 'bar', 'verdict']

/** The table of a suite, and below it what could not be measured and why. */
export function describeSuite({ suite, skipped, rows, omitted }: SuiteReport): string {
  if (skipped !== undefined) return `${suite}: SKIPPED, ${skipped}`
  const pairs = [...new Set(rows.map((row) => row.pairs))].join(' or ')
  const lines = rows.length === 0 ? [] : [`${suite} (${pairs} pairs a row)`, table([HEADING, ...rows.map(cells)])]
  return [...lines, ...omitted.map(({ what, reason }) => `  ${suite}: no "${what}": ${reason}`)].join('\n')
}

function cells(row: Row): string[] {
  const { what, against, unit, value, theirs, ratio, difference, twin, bar, verdict } = row
  const on = bar?.on ?? 'difference'
  const inUnit = (number: number): string => (on === 'ratio' ? digits(number) : show(number, unit))
  const { low, high } = row[on]
  return [
    what,
    against,
    show(value.median, unit),
    show(theirs.median, unit),
    digits(ratio.median),
    show(difference.median, unit),
    `${LABEL[on]} ${inUnit(low)} … ${inUnit(high)}`,
    unit === 'count' ? '' : aboutOne(twin),
    bar ? `${LABEL[on]} ≤ ${inUnit(bar.most)}` : '',
    verdict ?? '',
  ]
}

const LABEL = { difference: 'diff', ratio: 'ratio', value: 'ours' } as const

function aboutOne({ median, low, high }: Estimate): string {
  return `${digits(median)} (${digits(low)} … ${digits(high)})`
}

/** The last lines: how many bars were reached, and which were not. */
export function summary(reports: readonly SuiteReport[]): string {
  const rows = reports.flatMap(({ rows }) => rows)
  const count = (verdict: Verdict): number => rows.filter((row) => row.verdict === verdict).length
  const over = rows.filter((row) => row.verdict === 'over')
  return [
    ...over.map((row) => `over the bar: ${row.what}`),
    `${count('ok')} ok, ${count('over')} over, ${count('noise')} too noisy to tell, ${rows.length} measured`,
  ].join('\n')
}

/** What `--gate` asks: whether something is over its bar, and noise cannot be why. */
export function isOver(reports: readonly SuiteReport[]): boolean {
  return reports.some(({ rows }) => rows.some((row) => row.verdict === 'over'))
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = HEADING.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
