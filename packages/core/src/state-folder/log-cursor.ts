import { invalidConfig, type LogSource } from '../driver-kit.js'

/** How many bytes of each file were read. */
export type Offsets = Partial<Record<LogSource, number>>

const LETTERS: readonly (readonly [LogSource, string])[] = [
  ['stdout', 'o'],
  ['stderr', 'e'],
  ['console', 'c'],
]

/** Where a reader is in every file, such as `o120e0`. */
export function formatCursor(offsets: Offsets): string {
  return LETTERS.map(([source, letter]) => (offsets[source] === undefined ? '' : `${letter}${offsets[source]}`)).join('')
}

/** @throws VMKitError `INVALID_CONFIG` for what `formatCursor` did not make */
export function parseCursor(cursor: string): Offsets {
  const match = /^(?:o(\d{1,15}))?(?:e(\d{1,15}))?(?:c(\d{1,15}))?$/.exec(cursor)
  if (!match || cursor === '') throw invalidConfig('options.after', 'a cursor of a log entry of this driver', cursor)
  return Object.fromEntries(
    LETTERS.flatMap(([source], index) => (match[index + 1] === undefined ? [] : [[source, Number(match[index + 1])]])),
  )
}
