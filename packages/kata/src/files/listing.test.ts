import { expect, it } from 'vitest'
import { parseListing } from './listing.js'

const group = (names: string[], lines: string[]) =>
  `${names.map((name) => `${name}\0`).join('')}\0${lines.map((line) => `${line}\n`).join('')}\0`

it('reads what stat says of each name, whatever the name is', () => {
  const output = group(
    ['./a', './new\nline', './ü✓'],
    ['81e8 5 1700000000 ./a', 'a1ff 3 1700000001 ./new\nline', '41ed 4096 1700000002 ./ü✓'],
  )
  expect(parseListing(Buffer.from(output + group(['./last'], ['21b6 0 0 ./last'])))).toEqual([
    { name: 'a', type: 'file', size: 5, mode: 0o750, modifiedAt: 1_700_000_000_000 },
    { name: 'new\nline', type: 'symlink', size: 3, mode: 0o777, modifiedAt: 1_700_000_001_000 },
    { name: 'ü✓', type: 'directory', size: 4096, mode: 0o755, modifiedAt: 1_700_000_002_000 },
    { name: 'last', type: 'other', size: 0, mode: 0o666, modifiedAt: 0 },
  ])
  expect(parseListing(Buffer.alloc(0))).toEqual([])
})

it('leaves out what went meanwhile, and nothing else', () => {
  const output = group(['./gone', './a\n81a4 1 1 ./b', './b'], ['81a4 2 1 ./a\n81a4 1 1 ./b', '81a4 3 1 ./b'])
  expect(parseListing(Buffer.from(output)).map(({ name, size }) => [name, size])).toEqual([
    ['a\n81a4 1 1 ./b', 2],
    ['b', 3],
  ])
})
