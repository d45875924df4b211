import { expect, it } from 'vitest'
import { formatIdentity, identify, isAlive, ownIdentity, parseIdentity } from './identity.js'
import { hasEnded, type ProcessStat, parseStat, readStat } from './process-stat.js'

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
      threads: 1,
      start: 241277,
      residentPages: 348,
    })
  }
  for (const text of ['', '12', '12 (sh', 'x (sh) S 1', '0 (sh) S 1 1 1']) expect(parseStat(text)).toBeUndefined()
})

it('finds itself, and not a process of its pid that began at another time, or in another boot', () => {
  const self = readStat('self')
  if (!self) throw new Error('no /proc')
  expect(isAlive(self)).toBe(true)
  expect(isAlive({ pid: self.pid, start: self.start + 1 })).toBe(false)
  expect(isAlive(ownIdentity())).toBe(true)
  expect(isAlive({ ...ownIdentity(), boot: '0'.repeat(32) })).toBe(false)
  expect(identify(process.pid)).toEqual(ownIdentity())
})

it('an identity goes through a file name', () => {
  expect(parseIdentity(formatIdentity(ownIdentity()))).toEqual(ownIdentity())
  for (const text of ['', '1.2', '1.2.x', `1.2.${'0'.repeat(31)}`]) expect(parseIdentity(text), text).toBeUndefined()
})

it('a process has ended with its last thread, not with its first', () => {
  const zombie = (threads: number) => parseStat(`9 (qemu) Z 1 9 9 0 -1 0 0 0 0 0 7 8 0 0 20 0 ${threads} 0 241277 0 0`) as ProcessStat
  expect([zombie(2), zombie(1), zombie(0)].map(hasEnded)).toEqual([false, true, true])
})
