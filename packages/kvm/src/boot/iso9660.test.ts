import { describe, expect, it } from 'vitest'
import { cloudInitSeed } from './cloud-init.js'
import { isoImage } from './iso9660.js'

describe('an ISO 9660 image', () => {
  it('has its descriptors where ECMA-119 puts them', () => {
    const image = isoImage('cidata', [{ name: 'user-data', content: Buffer.from('hello') }])
    expect(image.length % 2048).toBe(0)
    expect(image.toString('latin1', 16 * 2048 + 1, 16 * 2048 + 6)).toBe('CD001')
    expect(image.toString('latin1', 16 * 2048 + 40, 16 * 2048 + 46)).toBe('cidata')
    expect(image.includes(Buffer.from('user-data', 'utf16le').swap16())).toBe(true)
    expect(image.includes('hello')).toBe(true)
    expect(() => isoImage('x', [{ name: 'a/b', content: new Uint8Array() }])).toThrow(RangeError)
  })
})

describe('a NoCloud seed', () => {
  it('is complete, and refuses what cloud-init would ignore', () => {
    const seed = cloudInitSeed({ name: 'web', cloudInit: { userData: '#!/bin/sh\necho hi\n', metaData: 'local-hostname: other\n' } }, 'abc')
    expect(seed.includes('instance-id: "vmkit-abc"\nlocal-hostname: other\n')).toBe(true)
    expect(() => cloudInitSeed({ name: 'web', cloudInit: { userData: 'echo hi' } }, 'abc')).toThrow(/userData/)
  })
})
