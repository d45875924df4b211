import { expect, it } from 'vitest'
import { parseStamped } from './stamped.js'

const line = (text: string) => ({ source: 'stdout' as const, text, at: null, cursor: 'o1' })

it('reads what the logger wrote: sources, times, parts', () => {
  expect(parseStamped(line('1700000000.000100 o one'))).toEqual({ source: 'stdout', text: 'one', at: 1_700_000_000_000, cursor: 'o1' })
  expect(parseStamped(line('1700000001.500000 e bad'))).toMatchObject({ source: 'stderr', text: 'bad', at: 1_700_000_001_500 })
  expect(parseStamped(line('1700000002.000000 c '))).toMatchObject({ source: 'console', text: '' })
  expect(parseStamped(line('1700000002.000000 O unended'))).toMatchObject({ source: 'stdout', text: 'unended', partial: true })
})

it('a whole line is no part, and what is no line is no entry', () => {
  expect(parseStamped({ ...line('1700000000.000100 o one'), partial: true })).not.toHaveProperty('partial')
  for (const text of ['', 'broken', '1700000002.000000 x text', '1700000002 o text']) expect(parseStamped(line(text)), text).toBeUndefined()
})
