import { describe, expect, it } from 'vitest'
import { CAPABILITIES, CAPABILITY_TABLE, capabilityOfField, isCapability } from './capabilities.js'

describe('the table of capabilities', () => {
  it('cannot be changed, and says what each is', () => {
    expect(Object.isFrozen(CAPABILITIES)).toBe(true)
    expect(Object.isFrozen(CAPABILITY_TABLE)).toBe(true)
    for (const capability of CAPABILITIES) expect(CAPABILITY_TABLE[capability].summary).not.toBe('')
  })

  it('gives a config field to one capability at most', () => {
    const fields = CAPABILITIES.flatMap((capability) => CAPABILITY_TABLE[capability].fields)
    expect(new Set(fields).size).toBe(fields.length)
    expect(capabilityOfField('ports')).toBe('ports')
    expect(capabilityOfField('env')).toBeUndefined()
  })

  it.each<unknown>(['constructor', '__proto__', '', 5, null, undefined, Symbol('x')])('does not know %#', (name) => {
    expect(isCapability(name as string)).toBe(false)
  })

  it('knows its own', () => expect(CAPABILITIES.every(isCapability)).toBe(true))
})
