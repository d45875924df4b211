import { describe, expect, it } from 'vitest'
import type { VMState } from './machine.js'
import { type GuardedOperation, legalStates, STATES, verdict } from './states.js'

// G: go, d: done already, -: refused. Written apart from the table, so that a slip in one shows.
const EXPECTED: Record<GuardedOperation, string> = {
  /*        created starting running paused stopping stopped failed migrating unknown */
  start: 'G G d - - G G - G',
  stop: 'd G G G G d d G G',
  kill: '- G G G G - - G G',
  pause: '- - G d - - - - G',
  resume: '- - d G - - - - G',
  delete: 'G - - - - G G - G',
  exec: '- - G - - - - - G',
  attach: '- - G G - - - - G',
  resize: '- - G G - - - - G',
  rename: 'G G G G G G G - G',
  devices: 'G - G G - G - - G',
  snapshot: 'G - G G - G - - G',
  restore: 'G - G G - G G - G',
  clone: 'G G G G G G G - G',
  migrate: 'G - G G - G - - G',
  bundle: 'G - G G - G - - G',
  metrics: '- - G G - - - - G',
}
const LETTER = { go: 'G', done: 'd', no: '-' }

describe('verdict', () => {
  it.each(Object.keys(EXPECTED) as GuardedOperation[])('%s, in every state', (operation) => {
    expect(STATES.map((state) => LETTER[verdict(operation, state)]).join(' ')).toBe(EXPECTED[operation])
    const legal = STATES.filter((_state, index) => EXPECTED[operation].split(' ')[index] !== '-')
    expect(legalStates(operation)).toEqual(legal)
  })

  it('leaves a state that core does not know to the driver', () => {
    expect(verdict('start', 'dreaming' as VMState)).toBe('go')
  })
})
