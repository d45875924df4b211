import type { Unit } from './suite.js'

const TIMES = [
  [1000, 's'],
  [1, 'ms'],
  [1e-3, 'µs'],
  [0, 'ns'],
] as const

const SIZES = [
  [1e6, 'MB'],
  [1e3, 'kB'],
  [0, 'B'],
] as const

/** A sample with three digits and the unit that suits it; a count as it is. */
export function show(value: number, unit: Unit): string {
  if (unit === 'count') return String(value)
  const size = Math.abs(value)
  const [scale, name] = (unit === 'ms' ? TIMES : SIZES).find(([from]) => size >= from) ?? [1, unit]
  return `${digits(value / (scale || (unit === 'ms' ? 1e-6 : 1)))} ${name}`
}

export function digits(value: number): string {
  const size = Math.abs(value)
  if (size >= 100) return value.toFixed(0)
  return value.toFixed(size >= 10 ? 1 : 2)
}

export const microseconds = (count: number): number => count / 1000
export const megabytes = (count: number): number => count * 1e6
