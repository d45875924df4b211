import { expect, it } from 'vitest'
import { paragraph, table, WIDTH } from '../src/output.js'

it('breaks a paragraph at spaces, and a word that no line holds', () => {
  const path = `/${'x'.repeat(150)}`
  const text = paragraph('  [12]', `${'word '.repeat(40)}${path}`)
  const lines = text.split('\n')
  expect(lines[0]).toMatch(/^ {2}\[12\] word/)
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(WIDTH)
  for (const line of lines.slice(1)) expect(line).toMatch(/^ {7}\S/)
  expect(
    lines
      .map((line) => line.slice(7))
      .join('')
      .replaceAll(' ', ''),
  ).toBe('word'.repeat(40) + path)
})

it('aligns columns and leaves no spaces at the end of a line', () => {
  expect(
    table(
      [
        ['ms', 'mock'],
        ['create', '1.5'],
        ['x', ''],
      ],
      [{}, { align: 'right' }],
    ),
  ).toBe('  ms      mock\n  create   1.5\n  x')
})
