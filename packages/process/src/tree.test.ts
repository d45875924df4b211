import type { ProcessStat } from '@vmkit/core/state-folder'
import { expect, it } from 'vitest'
import { sum } from './metrics.js'
import { withDescendants } from './tree.js'

function stat(pid: number, parent: number): ProcessStat {
  return { pid, parent, state: 'S', group: pid, session: pid, userTicks: 1, systemTicks: 2, threads: 1, start: 1, residentPages: 10 }
}

it('takes all that came from a member, in whatever order they are listed', () => {
  const all = [stat(5, 4), stat(4, 3), stat(3, 2), stat(2, 1), stat(9, 1)]
  expect(
    withDescendants(all, ({ pid }) => pid === 3)
      .map(({ pid }) => pid)
      .sort(),
  ).toEqual([3, 4, 5])
  expect(withDescendants(all, () => false)).toEqual([])
})

it('sums up what they use', () => {
  expect(sum([stat(2, 1), stat(3, 2)])).toMatchObject({
    cpu: { usageMs: 60, userMs: 20, systemMs: 40 },
    memory: { usedBytes: 81_920, limitBytes: null },
    pids: 2,
  })
})
