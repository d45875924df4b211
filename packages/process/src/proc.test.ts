import { readStat } from '@vmkit/core/state-folder'
import { expect, it } from 'vitest'
import { hasEnvironment, mayHaveWrapped, processesSince } from './proc.js'

it('finds itself', () => {
  const self = readStat('self')
  if (!self) throw new Error('no /proc')
  expect(processesSince(self).map(({ pid }) => pid)).toContain(process.pid)
  expect(hasEnvironment(process.pid, 'NO_SUCH=1')).toBe(false)
})

it('passes over lower pids only while there was no time to hand out all higher ones', () => {
  expect(mayHaveWrapped({ pid: 1000, start: 5000 }, 5001, 4194304, 2)).toBe(false)
  expect(mayHaveWrapped({ pid: 1000, start: 5000 }, 6000, 4194304, 2)).toBe(true)
  expect(mayHaveWrapped({ pid: 32_000, start: 5000 }, 5000, 32768, 1)).toBe(true)
  expect(mayHaveWrapped({ pid: 1, start: 5000 }, 5000, 0, 1)).toBe(true)
})
