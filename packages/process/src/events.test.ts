import { expect, it } from 'vitest'
import { parseLine } from './events.js'

it('reads the journal, and tells no end twice', () => {
  const running = new Map<string, number>()
  const id = 'web~0123456789ab'
  expect(parseLine(`created ${id}`, running)).toMatchObject({ type: 'created', id, name: 'web', driver: 'process' })
  expect(parseLine(`started ${id} 3`, running)).toMatchObject({ type: 'started' })
  expect(parseLine(`stopped ${id} 2 0 code - 1.0`, running)).toBeUndefined()
  expect(parseLine(`stopped ${id} 3 7 code - 1.0`, running)).toMatchObject({ type: 'stopped', exit: { code: 7, reason: 'exited' } })
  expect(parseLine(`stopped ${id} 3 7 code - 1.0`, running)).toBeUndefined()
  expect(parseLine(`deleted ${id}`, running)).toMatchObject({ type: 'deleted' })
})

it('passes over lines that are none', () => {
  for (const line of ['', 'created', 'created web', `else web~0123456789ab`]) expect(parseLine(line, new Map())).toBeUndefined()
})
