import { expect, it } from 'vitest'
import { parseExit } from './run.js'
import { signalName, signalNumber } from './signals.js'

it('reads what the supervisor writes, and keeps what it does not know as null', () => {
  const exit = (line: string) => parseExit(line, 5)?.exit
  expect(exit('0 code - 12.34')).toEqual({ code: 0, signal: null, oom: false, reason: 'exited', at: 5 })
  expect(exit('137 code - 12.34')).toEqual({ code: 137, signal: null, oom: false, reason: 'exited', at: 5 })
  expect(exit('137 signal - 12.34')).toEqual({ code: null, signal: 'SIGKILL', oom: null, reason: 'signalled', at: 5 })
  expect(exit('137 signal 0 12.34')).toEqual({ code: null, signal: 'SIGKILL', oom: false, reason: 'signalled', at: 5 })
  expect(exit('137 signal 2 12.34')).toEqual({ code: null, signal: 'SIGKILL', oom: true, reason: 'oom', at: 5 })
  expect(exit('143 signal 2 12.34')).toMatchObject({ signal: 'SIGTERM', oom: false, reason: 'signalled' })
  expect(exit('130 code - 12.34')).toEqual({ code: null, signal: null, oom: false, reason: 'unknown', at: 5 })
  expect(exit('3 relayed - 12.34')).toEqual({ code: 3, signal: null, oom: false, reason: 'exited', at: 5 })
  expect(exit('137 relayed - 12.34')).toEqual({ code: null, signal: null, oom: null, reason: 'unknown', at: 5 })
  expect(parseExit('1 code - 12.345', 5)?.ticks).toBe(1235)
})

it('takes nothing else for an exit', () => {
  for (const line of ['', '0', '0 code', '0 code -', '-1 code - 1', '0 maybe - 1', '0 code - 1 2', 'x code - 1'])
    expect(parseExit(line, 5)).toBeUndefined()
})

it('names signals both ways', () => {
  for (const name of ['SIGTERM', 'SIGKILL', 'SIGUSR1', 'SIGRTMIN', 'SIGRTMIN+3']) expect(signalName(signalNumber(name))).toBe(name)
  for (const name of ['SIGNOPE', 'TERM', 'SIGRTMIN+31', 'toString', ''])
    expect(() => signalNumber(name)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
})
