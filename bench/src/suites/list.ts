import { createManager } from '@vmkit/core'
import { mock } from '@vmkit/mock/driver'
import type { Sampler } from '../interleave.js'
import { loop } from '../loop.js'
import { freshContext } from '../mock/bed.js'
import type { Suite } from '../suite.js'

// For ten times as many machines n² shows as 10 and n√n as 3.2. Caches and the garbage collector take their part as lists
// grow: the plain loop of the bare mock is at 2 to 4 itself.
const LINEAR_MOST = 3

/** Whether the cost of list() is linear: times are per machine, and must not grow with their number. */
export const suite: Suite = {
  async *comparisons() {
    const ten = await fill(10)
    const thousand = await fill(1000)
    const tenThousand = await fill(10_000)
    const shared = { kind: 'loop', unit: 'ms', iterations: 4 } as const
    const linear = { on: 'ratio', most: LINEAR_MOST } as const
    for (const { count, ours, theirs } of [ten, thousand])
      yield {
        ...shared,
        what: `list() of ${count}, per machine`,
        against: 'bare mock driver',
        ours,
        theirs,
      }
    yield {
      ...shared,
      what: 'list() of 1000, per machine',
      against: 'list() of 10',
      ours: thousand.ours,
      theirs: ten.ours,
      bar: linear,
    }
    yield {
      ...shared,
      iterations: 2,
      what: 'list() of 10000, per machine',
      against: 'list() of 1000',
      ours: tenThousand.ours,
      theirs: thousand.ours,
      bar: linear,
    }
  },
}

/** A manager over so many machines, and the means to list them with and without it. */
async function fill(count: number): Promise<{ count: number; ours: Sampler; theirs: Sampler }> {
  const driver = mock()
  const handle = createManager({ drivers: { mock: driver } }).driver('mock')
  for (let index = 0; index < count; index += 1) await handle.create({ name: `m${index}`, command: ['true'] }, { onDispose: 'detach' })
  return { count, ours: loop(() => handle.list(), { per: count }), theirs: loop(() => driver.list({}, freshContext()), { per: count }) }
}
