import { describe, expect, it } from 'vitest'
import { describeValue, ERROR_CODES, invalidConfig, invalidConfigFrom, messageOf, typeOf, VMKitError } from './errors.js'

describe('VMKitError', () => {
  it('has only the details it was given', () => {
    const error = new VMKitError('NOT_FOUND', 'gone', { driver: 'fake', vmId: 'a' })
    expect(Object.keys(error).sort()).toEqual(['code', 'driver', 'retryable', 'vmId'])
    expect(error.name).toBe('VMKitError')
    expect(error).toBeInstanceOf(Error)
  })

  it.each(ERROR_CODES)('says whether %s may pass by itself', (code) => {
    expect(new VMKitError(code, '').retryable).toBe(code === 'BACKEND_UNAVAILABLE' || code === 'CONFLICT')
    expect(new VMKitError(code, '', { retryable: true }).retryable).toBe(true)
  })

  it('keeps the ordinary meaning of instanceof for subclasses, and for what is no error', () => {
    class Special extends VMKitError {}
    expect(new Special('ABORTED', '') instanceof VMKitError).toBe(true)
    expect(new VMKitError('ABORTED', '') instanceof Special).toBe(false)
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    for (const value of [null, undefined, 1, 'x', {}, new Error('x'), proxy]) expect(value instanceof VMKitError).toBe(false)
  })

  it('adds with() only what is missing, and keeps the stack and the cause', () => {
    const cause = new Error('below')
    const error = new VMKitError('TIMEOUT', 'slow', { driver: 'a', cause, retryable: true })
    expect(error.with({ driver: 'b' })).toBe(error)
    const more = error.with({ driver: 'b', operation: 'start' })
    expect(more).toMatchObject({ code: 'TIMEOUT', driver: 'a', operation: 'start', retryable: true, cause })
    expect(more.stack).toBe(error.stack)
  })

  it('makes one of anything that was thrown', () => {
    const error = new VMKitError('CONFLICT', 'taken')
    expect(VMKitError.from(error)).toBe(error)
    expect(VMKitError.from(new Error('x'), { driver: 'a' })).toMatchObject({ code: 'BACKEND_ERROR', message: 'x', driver: 'a' })
    expect(VMKitError.from('x', { code: 'GUEST_ERROR' })).toMatchObject({ code: 'GUEST_ERROR', message: 'x' })
    for (const thrown of [undefined, null, Symbol('s'), 1n, Object.create(null)]) expect(VMKitError.from(thrown).code).toBe('BACKEND_ERROR')
    expect(messageOf(Object.create(null))).toBe('a value without a text')
  })

  it('is plain data as JSON', () => {
    const error = new VMKitError('GUEST_ERROR', 'died', { evidence: { logTail: ['x'] }, cause: new Error('below') })
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      name: 'VMKitError',
      code: 'GUEST_ERROR',
      message: 'died',
      retryable: false,
      evidence: { logTail: ['x'] },
      cause: 'below',
    })
    expect(new VMKitError('ABORTED', '', { cause: Object.create(null) }).toJSON().cause).toBe('a value without a text')
  })
})

describe('describeValue', () => {
  const cyclic: Record<string, unknown> = { token: 'secret' }
  cyclic.self = cyclic
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  it.each<[unknown, string]>([
    [undefined, 'nothing'],
    [null, 'null'],
    [-1, '-1 (number)'],
    [Number.NaN, 'NaN (number)'],
    [10n, '10 (bigint)'],
    [true, 'true (boolean)'],
    ['a"b', '"a\\"b" (string)'],
    ['x'.repeat(200), `"${'x'.repeat(79)}… (string)`],
    [Symbol('x'), 'a symbol'],
    [() => {}, 'a function'],
    [[], '[] (array)'],
    [['secret'], 'an array of 1'],
    [{}, '{} (object)'],
    [cyclic, 'an object'],
  ])('shows %# without what is inside', (value, text) => {
    expect(describeValue(value)).toBe(text)
  })

  it('survives a value that cannot be read', () => {
    expect(describeValue(proxy)).toBe('an object')
  })

  it('names types without touching the value', () => {
    expect([null, [], {}, proxy, 1n, 'x'].map(typeOf)).toEqual(['null', 'array', 'object', 'object', 'bigint', 'string'])
  })
})

describe('invalidConfig', () => {
  it('names field, expectation and value, for one or several', () => {
    const error = invalidConfig('config.cpus', 'a number', 'x')
    expect(error).toMatchObject({
      code: 'INVALID_CONFIG',
      field: 'config.cpus',
      message: '`config.cpus`: expected a number, got "x" (string)',
    })
    const both = invalidConfigFrom([
      { path: 'a', expected: 'b', received: 'c' },
      { path: 'd', expected: 'e', received: 'f' },
    ])
    expect(both.message).toBe('`a`: expected b, got c; `d`: expected e, got f')
    expect(both.issues).toHaveLength(2)
  })
})
