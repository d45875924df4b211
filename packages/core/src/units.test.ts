import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseBytes, parseDuration } from './units.js'

describe('parseBytes', () => {
  it.each<[number | string, number]>([
    [0, 0],
    [1024, 1024],
    ['1B', 1],
    ['1kB', 1000],
    ['1KB', 1000],
    ['2GB', 2e9],
    ['512MiB', 512 * 2 ** 20],
    ['1.5 GiB', 1.5 * 2 ** 30],
    ['4TiB', 4 * 2 ** 40],
  ])('%s', (value, bytes) => expect(parseBytes(value)).toBe(bytes))

  it.each<unknown>([
    -1,
    1.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    2 ** 60,
    '',
    '5',
    '1G',
    '1M',
    '-1MiB',
    '1 MiB ',
    '1e3MiB',
    '1constructor',
    `${'9'.repeat(400)}B`,
    null,
    undefined,
    {},
    Symbol('x'),
    5n,
    { toString: () => '5MiB' },
  ])('refuses %#', (value) => {
    expect(() => parseBytes(value as string, 'field')).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', field: 'field' }))
  })

  it('reads back any whole number of any unit', () => {
    const units = [
      ['B', 1],
      ['kB', 1e3],
      ['MB', 1e6],
      ['GB', 1e9],
      ['KiB', 2 ** 10],
      ['MiB', 2 ** 20],
      ['GiB', 2 ** 30],
    ] as const
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.constantFrom(...units), (amount, [unit, factor]) => {
        expect(parseBytes(`${amount}${unit}`)).toBe(amount * factor)
        expect(parseBytes(parseBytes(`${amount}${unit}`))).toBe(amount * factor)
      }),
    )
  })
})

describe('parseDuration', () => {
  it.each<[number | string, number]>([
    [0, 0],
    [0.5, 0.5],
    ['500ms', 500],
    ['30s', 30_000],
    ['1.5 m', 90_000],
    ['2h', 7_200_000],
    ['1d', 86_400_000],
  ])('%s', (value, ms) => expect(parseDuration(value)).toBe(ms))

  it.each<unknown>([
    -1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    '',
    '5',
    '1w',
    '-1s',
    'constructor',
    '1constructor',
    null,
    undefined,
    [],
    Symbol('x'),
  ])('refuses %#', (value) => {
    expect(() => parseDuration(value as string, 'field')).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', field: 'field' }))
  })

  it('reads back any whole number of any unit', () => {
    fc.assert(
      fc.property(
        fc.nat(1_000_000),
        fc.constantFrom(['ms', 1] as const, ['s', 1e3] as const, ['m', 6e4] as const),
        (amount, [unit, factor]) => {
          expect(parseDuration(`${amount} ${unit}`)).toBe(amount * factor)
        },
      ),
    )
  })
})
