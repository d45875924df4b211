import { table } from './output.js'

/** How long a step took; without a time it could not be done there. */
export interface Timing {
  step: string
  ms?: number
}

export function timingTable(results: ReadonlyMap<string, readonly Timing[]>): string {
  const drivers = [...results.keys()]
  const steps = [...new Set([...results.values()].flatMap((timings) => timings.map(({ step }) => step)))]
  const time = (driver: string, step: string): string => milliseconds(results.get(driver)?.find((timing) => timing.step === step)?.ms)
  const total = (driver: string): string => milliseconds(results.get(driver)?.reduce((sum, { ms = 0 }) => sum + ms, 0))
  return table(
    [['ms', ...drivers], ...steps.map((step) => [step, ...drivers.map((driver) => time(driver, step))]), ['total', ...drivers.map(total)]],
    [{}, ...drivers.map(() => ({ align: 'right' as const }))],
  )
}

export function milliseconds(ms: number | undefined): string {
  return ms === undefined ? '-' : ms.toFixed(1)
}
