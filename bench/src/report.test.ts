import { describe, expect, it } from 'vitest'
import type { Row, Verdict } from './compare.js'
import { describeSuite, isOver, summary } from './report.js'
import { show } from './units.js'

const exactly = (median: number) => ({ median, low: median, high: median })
const row = (verdict?: Verdict): Row => ({
  what: 'vm.start',
  against: 'driver.start',
  unit: 'ms',
  pairs: 60,
  value: exactly(0.03),
  theirs: exactly(0.01),
  difference: { median: 0.02, low: 0.018, high: 0.025 },
  ratio: exactly(3),
  twin: { median: 1, low: 0.98, high: 1.03 },
  ...(verdict ? { bar: { on: 'difference', most: 0.02 }, verdict } : {}),
})
const report = (...rows: Row[]) => ({ suite: 'mock', rows, omitted: [] })

describe('the table', () => {
  it('shows a row with its units, interval, twin, bar and verdict', () => {
    const [, , line] = describeSuite(report(row('noise'))).split('\n')
    expect(line).toMatch(
      /^vm.start +driver.start +30.0 µs +10.0 µs +3.00 +20.0 µs +diff 18.0 µs … 25.0 µs +1.00 \(0.98 … 1.03\) +diff ≤ 20.0 µs +noise$/,
    )
  })

  it('shows the interval of what the bar is on', () => {
    const ratio = { ...row(), bar: { on: 'ratio', most: 1.5 }, verdict: 'over' } as const
    expect(describeSuite(report(ratio))).toMatch(/ratio 3.00 … 3.00 .*ratio ≤ 1.50 +over$/)
  })

  it('shows counts without noise, which they have none of', () => {
    const counts = { ...row(), unit: 'count', value: exactly(1), theirs: exactly(1), bar: { on: 'value', most: 1 }, verdict: 'ok' } as const
    expect(describeSuite(report(counts))).toMatch(/ours 1 … 1 +ours ≤ 1 +ok$/)
  })

  it('says what was skipped, and why', () => {
    expect(describeSuite({ suite: 'docker', skipped: 'no socket', rows: [], omitted: [] })).toBe('docker: SKIPPED, no socket')
    expect(describeSuite({ suite: 'process', rows: [], omitted: [{ what: 'limits', reason: 'no cgroup' }] })).toBe(
      '  process: no "limits": no cgroup',
    )
  })
})

describe('the gate', () => {
  it('fails on what is over, not on noise', () => {
    expect(isOver([report(row('ok'), row('noise'), row())])).toBe(false)
    expect(isOver([report(row('ok')), report(row('over'))])).toBe(true)
  })

  it('counts the verdicts and names what is over', () => {
    expect(summary([report(row('ok'), row('over'), row('noise'), row())])).toBe(
      'over the bar: vm.start\n1 ok, 1 over, 1 too noisy to tell, 4 measured',
    )
  })
})

describe('show', () => {
  it('picks the unit', () => {
    expect([0.00005, 0.012, -0.0012, 3.456, 1500].map((value) => show(value, 'ms'))).toEqual([
      '50.0 ns',
      '12.0 µs',
      '-1.20 µs',
      '3.46 ms',
      '1.50 s',
    ])
    expect([120, 3000, 2.5e6].map((value) => show(value, 'bytes'))).toEqual(['120 B', '3.00 kB', '2.50 MB'])
    expect([0, 4, 200].map((value) => show(value, 'count'))).toEqual(['0', '4', '200'])
  })
})
