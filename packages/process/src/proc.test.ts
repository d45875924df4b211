import { expect, it } from 'vitest'
import { hasEnvironment, isAlive, mayHaveWrapped, parseStat, processesSince, readStat } from './proc.js'

it('reads a stat line, whatever the name of the program is', () => {
  const rest = 'S 1 42 43 0 -1 4194304 67 0 0 0 7 8 0 0 20 0 1 0 241277 2322432 348 18446744073709551615'
  for (const name of ['sh', 'a b', ') R 1', 'x) (y']) {
    expect(parseStat(`9040 (${name}) ${rest}\n`)).toEqual({
      pid: 9040,
      state: 'S',
      parent: 1,
      group: 42,
      session: 43,
      userTicks: 7,
      systemTicks: 8,
      start: 241277,
      residentPages: 348,
    })
  }
  for (const text of ['', '12', '12 (sh', 'x (sh) S 1', '0 (sh) S 1 1 1']) expect(parseStat(text)).toBeUndefined()
})

it('finds itself, and not a process of its pid that began at another time', () => {
  const self = readStat('self')
  if (!self) throw new Error('no /proc')
  expect(isAlive(self)).toBe(true)
  expect(isAlive({ pid: self.pid, start: self.start + 1 })).toBe(false)
  expect(processesSince(self).map(({ pid }) => pid)).toContain(process.pid)
  expect(hasEnvironment(process.pid, 'NO_SUCH=1')).toBe(false)
})

it('passes over lower pids only while there was no time to hand out all higher ones', () => {
  expect(mayHaveWrapped({ pid: 1000, start: 5000 }, 5001, 4194304, 2)).toBe(false)
  expect(mayHaveWrapped({ pid: 1000, start: 5000 }, 6000, 4194304, 2)).toBe(true)
  expect(mayHaveWrapped({ pid: 32_000, start: 5000 }, 5000, 32768, 1)).toBe(true)
  expect(mayHaveWrapped({ pid: 1, start: 5000 }, 5000, 0, 1)).toBe(true)
})
