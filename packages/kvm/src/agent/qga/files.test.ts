import { expect, it } from 'vitest'
import { parseList } from './files.js'

it("reads what the guest's stat tells, whatever the names", () => {
  const text = '81a4 5 1000 ./a 1 2 .b/\n41ed 4096 1001 ./new\nline/\na1ff 3 1002 ./-> x/\n11a4 0 1003 ./fifo/\n'
  expect(parseList(text)).toEqual([
    { name: 'a 1 2 .b', type: 'file', size: 5, mode: 0o644, modifiedAt: 1_000_000 },
    { name: 'new\nline', type: 'directory', size: 4096, mode: 0o755, modifiedAt: 1_001_000 },
    { name: '-> x', type: 'symlink', size: 3, mode: 0o777, modifiedAt: 1_002_000 },
    { name: 'fifo', type: 'other', size: 0, mode: 0o644, modifiedAt: 1_003_000 },
  ])
})
