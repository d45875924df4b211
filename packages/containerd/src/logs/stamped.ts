import type { LogEntry, LogSource } from '@vmkit/core/driver'

/*
 * A line of the logger: `<seconds>.<microseconds> <letter> <text>`. The letter is `o`, `e` or `c`; in upper case the line was too long, and goes on in the next.
 */
const LINE = /^(\d{1,12}\.\d{6}) ([oecOEC]) (.*)$/s

const SOURCES: Readonly<Record<string, LogSource>> = { o: 'stdout', e: 'stderr', c: 'console' }

/** An entry as the logger's line has it; `undefined` for a line that is not whole. */
export function parseStamped(line: LogEntry): LogEntry | undefined {
  const match = LINE.exec(line.text)
  if (!match) return undefined
  const letter = match[2] as string
  const { partial: _partial, ...rest } = line
  const isPartial = letter !== letter.toLowerCase()
  return {
    ...rest,
    source: SOURCES[letter.toLowerCase()] as LogSource,
    text: match[3] as string,
    at: Math.floor(Number(match[1]) * 1000),
    ...(isPartial ? { partial: true } : {}),
  }
}
