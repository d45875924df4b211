import fc from 'fast-check'
import { expect, it } from 'vitest'
import { closest } from './closest.js'

const fields = [
  'name',
  'image',
  'rootfs',
  'command',
  'env',
  'workdir',
  'cpus',
  'memory',
  'pids',
  'ports',
  'labels',
  'ttl',
  'tty',
  'driverOptions',
]

it.each([
  ['memroy', 'memory'],
  ['Memory', 'memory'],
  ['mem', 'memory'],
  ['momory', 'memory'],
  ['cpu', 'cpus'],
  ['port', 'ports'],
  ['environment', 'env'],
  ['imgae', 'image'],
  ['driverOption', 'driverOptions'],
  ['workDir', 'workdir'],
  // Not `tty`: the first of those that are as close.
  ['ttx', 'ttl'],
])('%s is meant as %s', (written, meant) => expect(closest(written, fields)).toBe(meant))

it.each(['', 'x', 'gpu!', 'restartPolicy', '__proto__', 'm', 'me', 'memory'.repeat(100_000)])('nothing is close to %j', (written) => {
  const far = closest(written, ['image', 'labels', 'ttl'])
  expect(far).toBeUndefined()
})

it('finds a word again after any one slip', () => {
  const slip = fc.record({ word: fc.constantFrom(...fields), at: fc.nat(), letter: fc.constantFrom(...'abcxyz'), kind: fc.nat(3) })
  fc.assert(
    fc.property(slip, ({ word, at, letter, kind }) => {
      const i = at % word.length
      const rest = [
        word.slice(i + 1),
        letter + word.slice(i),
        letter + word.slice(i + 1),
        (word[i + 1] ?? '') + word[i] + word.slice(i + 2),
      ]
      const written = word.slice(0, i) + rest[kind]
      const found = closest(written, [word])
      // Of a word of three letters, half may be gone with one slip; it is still found.
      expect(found).toBe(word)
    }),
  )
})

it('is the word itself when that is known', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string({ minLength: 1 }), { selector: (word) => word.toLowerCase(), minLength: 1 }), (words) => {
      for (const word of words) expect(closest(word, words)).toBe(word)
    }),
  )
})
