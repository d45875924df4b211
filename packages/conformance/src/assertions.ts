import assert from 'node:assert/strict'
import { type ErrorCode, VMKitError } from '@vmkit/core'

/** The typed error that the call rejects with. Anything else, success included, fails. */
export async function rejects(
  call: Promise<unknown> | (() => unknown),
  codes: ErrorCode | readonly ErrorCode[],
  what = 'the call',
): Promise<VMKitError> {
  const expected: readonly ErrorCode[] = typeof codes === 'string' ? [codes] : codes
  let value: unknown
  try {
    value = await (typeof call === 'function' ? call() : call)
  } catch (error) {
    return isTyped(error, expected, what)
  }
  assert.fail(`${what}: expected ${expected.join(' or ')}, but it resolved with ${show(value)}`)
}

function isTyped(error: unknown, expected: readonly ErrorCode[], what: string): VMKitError {
  if (!(error instanceof VMKitError))
    assert.fail(`${what}: expected a VMKitError, got ${error instanceof Error ? (error.stack ?? error.message) : show(error)}`)
  if (!expected.includes(error.code)) {
    assert.fail(
      `${what}: expected ${expected.join(' or ')}, got ${error.code}: ${error.message}${error.cause instanceof Error ? ` (${error.cause.stack})` : ''}`,
    )
  }
  assert.notEqual(error.message, '', `${what}: the error has no message`)
  return error
}

/** A settled call as the code of its error, or `ok`. Untyped errors fail. */
export async function outcome(call: Promise<unknown>): Promise<'ok' | ErrorCode> {
  try {
    await call
    return 'ok'
  } catch (error) {
    if (error instanceof VMKitError) return error.code
    throw error
  }
}

/** Everything an iterator gives. */
export async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const values: T[] = []
  for await (const value of source) values.push(value)
  return values
}

/** The first value for which `accept` holds; leaves the iterator then. */
export async function first<T>(source: AsyncIterable<T>, accept: (value: T) => boolean = () => true): Promise<T> {
  for await (const value of source) if (accept(value)) return value
  assert.fail('the stream ended before what was waited for came')
}

function show(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    return String(value)
  }
}
